//! A proxy's configuration, made from its template in `benches/peers`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::Proxy;

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// What a configuration is made from.
#[derive(Debug)]
pub(super) struct Setting<'a> {
    pub(super) listeners: &'a [SocketAddr],
    pub(super) endpoints: &'a [SocketAddr],
    pub(super) directory: &'a Path,
    pub(super) workers: usize,
    /// Open files a process may have.
    pub(super) descriptors: u64,
    /// Flows that a proxy has to be ready for.
    pub(super) flows: usize,
}

/// The text of a proxy's configuration; empty where there is no proxy.
pub(super) fn configuration(proxy: Proxy, setting: &Setting<'_>) -> String {
    let template = match proxy {
        Proxy::Tidegate => include_str!("../../peers/tidegate.yaml"),
        Proxy::Haproxy | Proxy::HaproxySplice | Proxy::HaproxySplice1m => {
            include_str!("../../peers/haproxy.cfg")
        }
        Proxy::Nginx | Proxy::NginxHalfClose => include_str!("../../peers/nginx.conf"),
        Proxy::Envoy => include_str!("../../peers/envoy.yaml"),
        Proxy::Direct => "",
    };
    let splice = match proxy {
        Proxy::Haproxy => "option splice-auto",
        _ => "option splice-request\n    option splice-response",
    };
    let pipes = if proxy == Proxy::HaproxySplice1m { "tune.pipesize 1048576" } else { "" };
    // A package that has the module built in has no file for it.
    let module =
        if Path::new(NGINX_STREAM).exists() { format!("load_module {NGINX_STREAM};") } else { String::new() };
    // Several workers share out connections best with a listening socket each.
    let reuse = if setting.workers > 1 { " reuseport" } else { "" };
    let half_close = if proxy == Proxy::NginxHalfClose { "on" } else { "off" };
    let marks = [
        ("half_close", half_close.to_owned()),
        ("splice", splice.to_owned()),
        ("pipes", pipes.to_owned()),
        ("module", module),
        ("reuse", reuse.to_owned()),
        ("workers", setting.workers.to_string()),
        ("directory", setting.directory.display().to_string()),
        ("flows", setting.flows.to_string()),
        ("connections", (2 * setting.flows + setting.listeners.len() + 64).to_string()),
        ("descriptors", setting.descriptors.to_string()),
    ];
    let text = without_comments(template);
    let text = repeat(&text, "listener", setting.listeners);
    let text = repeat(&text, "endpoint", setting.endpoints);
    marks.iter().fold(text, |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

/// A template without its comment lines, which speak of the marks.
fn without_comments(template: &str) -> String {
    let lines = template.lines().filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Writes what stands between `{{each NAME}}` and `{{end}}` once for each address.
fn repeat(text: &str, name: &str, addresses: &[SocketAddr]) -> String {
    let (begin, end) = (format!("{{{{each {name}}}}}\n"), "{{end}}\n");
    let Some((before, rest)) = text.split_once(&begin) else { return text.to_owned() };
    let Some((block, after)) = rest.split_once(end) else { return text.to_owned() };
    let mut repeated = before.to_owned();
    for (number, address) in addresses.iter().enumerate() {
        let written = block
            .replace("{{number}}", &number.to_string())
            .replace("{{address}}", &address.to_string())
            .replace("{{ip}}", &address.ip().to_string())
            .replace("{{port}}", &address.port().to_string());
        let _ = write!(repeated, "{written}");
    }
    repeated + after
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_mark_of_every_template_is_filled() {
        let listeners = ["127.0.0.1:7000".parse().unwrap(), "127.0.0.2:7000".parse().unwrap()];
        let endpoints = ["127.0.1.1:7001".parse().unwrap(), "127.0.1.2:7002".parse().unwrap()];
        let setting = Setting {
            listeners: &listeners,
            endpoints: &endpoints,
            directory: Path::new("/tmp/x"),
            workers: 3,
            descriptors: 20_000,
            flows: 8000,
        };
        for proxy in Proxy::value_variants().iter().filter(|proxy| **proxy != Proxy::Direct) {
            let text = configuration(*proxy, &setting);
            assert!(!text.contains("{{"), "{text}");
            for address in ["127.0.0.1", "127.0.0.2", "7000", "127.0.1.1", "7001", "127.0.1.2", "7002"] {
                assert!(text.contains(address), "{address}: {text}");
            }
            assert_eq!(text.contains("tune.pipesize"), *proxy == Proxy::HaproxySplice1m);
            assert_eq!(text.contains("proxy_half_close on"), *proxy == Proxy::NginxHalfClose);
            assert_eq!(text.contains("splice-auto"), *proxy == Proxy::Haproxy);
        }
    }
}
