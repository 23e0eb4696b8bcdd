use super::*;

#[test]
fn an_unknown_service_names_the_known_ones() {
    let service = ServiceName::new("default", "wbe");
    let error =
        ControlError::UnknownService { service, known: vec!["default/web".into(), "default/db".into()] };
    assert_eq!(error.to_string(), "there is no service `default/wbe`; there are: default/web, default/db");
}

#[test]
fn a_long_list_of_names_is_cut() {
    let error = ControlError::UnknownEndpoint {
        service: ServiceName::new("default", "web"),
        endpoint: "10.0.0.9:80".into(),
        known: (0..23).map(|n| format!("10.0.1.{n}:80")).collect(),
    };
    assert!(error.to_string().ends_with("10.0.1.19:80 and 3 more"), "{error}");
}

#[test]
fn an_empty_list_says_none() {
    let error =
        ControlError::UnknownService { service: ServiceName::new("default", "web"), known: Vec::new() };
    assert_eq!(error.to_string(), "there is no service `default/web`; there are: none");
}
