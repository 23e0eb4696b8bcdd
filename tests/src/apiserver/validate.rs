//! Rules that the API server has for what clients write, as far as a load balancer could break them.

use std::net::IpAddr;

use serde_json::Value;

use super::{Resource, status::Refusal};

/// Refuses an object that the API server would refuse.
pub(super) fn check(resource: Resource, name: &str, object: &Value) -> Result<(), Refusal> {
    let fault = match (resource.group, resource.plural) {
        ("", "services") => service(object),
        (_, "endpointslices") => slice(object),
        (_, "leases") => lease(object),
        ("events.k8s.io", _) => event(object),
        ("", "events") => old_event(object),
        _ => None,
    };
    fault.map_or(Ok(()), |fault| Err(Refusal::invalid(resource, name, &fault)))
}

fn service(object: &Value) -> Option<String> {
    let ports = object["spec"]["ports"].as_array();
    if ports.is_none_or(Vec::is_empty) {
        return Some("spec.ports: Required value".into());
    }
    let ingress = object["status"]["loadBalancer"]["ingress"].as_array().map_or(&[][..], Vec::as_slice);
    if !ingress.is_empty() && object["spec"]["type"] != "LoadBalancer" {
        let what = "may only be used when `spec.type` is \"LoadBalancer\"";
        return Some(format!("status.loadBalancer.ingress: Forbidden: {what}"));
    }
    ingress.iter().enumerate().find_map(|(at, entry)| {
        let place = format!("status.loadBalancer.ingress[{at}]");
        let ip = entry["ip"].as_str();
        if ip.is_some_and(|ip| ip.parse::<IpAddr>().is_err()) {
            return Some(format!("{place}.ip: Invalid value: must be a valid IP address"));
        }
        match (ip, entry["ipMode"].as_str()) {
            (None, Some(_)) => {
                Some(format!("{place}.ipMode: Forbidden: may not be specified when `ip` is not set"))
            }
            (Some(_), Some(mode)) if !["VIP", "Proxy"].contains(&mode) => Some(format!(
                "{place}.ipMode: Unsupported value: \"{mode}\": supported values: \"Proxy\", \"VIP\""
            )),
            _ => None,
        }
    })
}

fn slice(object: &Value) -> Option<String> {
    let kind = object["addressType"].as_str().unwrap_or_default();
    if !["IPv4", "IPv6", "FQDN"].contains(&kind) {
        return Some("addressType: Required value".into());
    }
    let endpoints = object["endpoints"].as_array().into_iter().flatten();
    endpoints.enumerate().find_map(|(at, endpoint)| {
        let addresses = endpoint["addresses"].as_array().map_or(&[][..], Vec::as_slice);
        if addresses.is_empty() {
            return Some(format!("endpoints[{at}].addresses: Required value"));
        }
        let text = addresses[0].as_str().unwrap_or_default();
        let address = text.parse::<IpAddr>();
        if kind != "FQDN" && address.is_err() {
            return Some(format!(
                "endpoints[{at}].addresses[0]: Invalid value: \"{text}\": must be a valid IP address"
            ));
        }
        address.is_ok_and(|address| address.is_loopback()).then(|| {
            format!(
                "endpoints[{at}].addresses[0]: Invalid value: \"{text}\": may not be in the loopback range \
                 (127.0.0.0/8, ::1/128)"
            )
        })
    })
}

fn lease(object: &Value) -> Option<String> {
    let spec = &object["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        return Some("spec.leaseDurationSeconds: Invalid value: must be greater than 0".into());
    }
    ["acquireTime", "renewTime"].iter().find(|field| !is_micro_time(&spec[**field])).map(|field| {
        format!("spec.{field}: Invalid value: a time with six digits after the point is expected")
    })
}

fn event(object: &Value) -> Option<String> {
    let required = ["eventTime", "reportingController", "reportingInstance", "action", "reason", "type"];
    let is_missing = |field: &str| object[field].as_str().is_none_or(str::is_empty);
    if let Some(field) = required.iter().find(|field| is_missing(field)) {
        return Some(format!("{field}: Required value"));
    }
    if !is_micro_time(&object["eventTime"]) {
        return Some("eventTime: Invalid value: a time with six digits after the point is expected".into());
    }
    if !["Normal", "Warning"].contains(&object["type"].as_str().unwrap_or_default()) {
        return Some("type: Invalid value: has invalid value".into());
    }
    if object["note"].as_str().is_some_and(|note| note.len() > 1024) {
        return Some("note: Invalid value: can have at most 1024 characters".into());
    }
    let about = object["regarding"]["namespace"].as_str().unwrap_or("default");
    (object["metadata"]["namespace"] != about)
        .then(|| "regarding.namespace: Invalid value: does not match event.namespace".into())
}

fn old_event(object: &Value) -> Option<String> {
    let about = object["involvedObject"]["namespace"].as_str().unwrap_or("default");
    (object["metadata"]["namespace"] != about)
        .then(|| "involvedObject.namespace: Invalid value: does not match event.namespace".into())
}

/// Absent, or with exactly the fraction that the server's parser wants.
fn is_micro_time(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return value.is_null() };
    let fraction = text.split_once('.').map(|(_, rest)| rest);
    fraction.is_some_and(|rest| {
        let digits = rest.chars().take_while(char::is_ascii_digit).count();
        digits == 6 && (rest.ends_with('Z') || rest[6..].starts_with(['+', '-']))
    })
}
