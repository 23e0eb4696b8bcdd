use std::io::Write as _;

use super::*;

fn file(path: &str) -> Access {
    Access { kubeconfig: Some(path.into()), context: None }
}

#[test]
fn a_named_kubeconfig_comes_before_the_pod_and_the_pod_before_the_environment() {
    let named = file("/there");
    let unnamed = Access::default();
    assert_eq!(named.way(true, true).expect("a way"), Way::File("/there".into()));
    assert_eq!(unnamed.way(true, true).expect("a way"), Way::ServiceAccount);
    assert_eq!(unnamed.way(true, false).expect("a way"), Way::ServiceAccount);
    assert_eq!(unnamed.way(false, true).expect("a way"), Way::Environment);
}

#[test]
fn whoever_names_a_context_means_a_kubeconfig() {
    let access = Access { kubeconfig: None, context: Some("other".to_owned()) };
    assert_eq!(access.way(true, true).expect("a way"), Way::Environment);
}

#[test]
fn without_any_of_them_the_error_names_all() {
    let error = Access::default().way(false, false).expect_err("no way").to_string();
    for name in ["KUBERNETES_SERVICE_HOST", "KUBECONFIG", "--kubeconfig", "source.kubernetes.kubeconfig"] {
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_kubeconfig_that_is_wrong_is_named_with_the_reason() {
    let error = said(&file("/does/not/exist").load().await.expect_err("no such file"));
    assert!(
        error.starts_with("kubeconfig /does/not/exist cannot be used: ") && error.contains("No such file"),
        "{error}"
    );

    let mut written = tempfile::NamedTempFile::new().expect("a file");
    written.write_all(b"apiVersion: v1\nkind: Config\ncurrent-context: gone\n").expect("written");
    let access = Access { kubeconfig: Some(written.path().to_owned()), context: None };
    let error = said(&access.load().await.expect_err("no such context"));
    assert!(error.contains("gone"), "{error}");
}

#[tokio::test]
async fn a_context_chooses_the_server() {
    let mut written = tempfile::NamedTempFile::new().expect("a file");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: one\n\
        clusters:\n- {name: a, cluster: {server: \"http://a.example:1\"}}\n- {name: b, cluster: {server: \"http://b.example:2\"}}\n\
        contexts:\n- {name: one, context: {cluster: a, user: u}}\n- {name: two, context: {cluster: b, user: u}}\n\
        users:\n- {name: u, user: {}}\n";
    written.write_all(text.as_bytes()).expect("written");
    let server = async |context: Option<&str>| {
        let context = context.map(str::to_owned);
        let access = Access { kubeconfig: Some(written.path().to_owned()), context };
        access.load().await.expect("a kubeconfig").cluster_url.to_string()
    };
    assert_eq!(server(None).await, "http://a.example:1/");
    assert_eq!(server(Some("two")).await, "http://b.example:2/");
}
