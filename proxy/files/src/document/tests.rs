use std::{fs, path::PathBuf};

use super::*;

const SLICE: &str = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 80}]
endpoints: [{addresses: [10.0.0.1]}]
";

fn slices(text: &str) -> Vec<String> {
    let content = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"));
    content.slices.iter().map(|slice| slice.name.to_string()).collect()
}

fn error(text: &str) -> String {
    match read(text.as_bytes()) {
        Ok(content) => panic!("{content:?} from\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn renamed(name: &str) -> String {
    SLICE.replace("web-1", name)
}

/// The slice as an item of a list, with its `kind` or without.
fn item(text: &str) -> String {
    text.lines()
        .enumerate()
        .fold(String::new(), |item, (index, line)| item + if index == 0 { "- " } else { "  " } + line + "\n")
}

#[test]
fn one_document_many_documents_and_empty_ones_between() {
    assert_eq!(slices(SLICE), ["default/web-1"]);
    let many = format!("---\n{SLICE}---\n# nothing here\n---\n{}...\n---\n", renamed("web-2"));
    assert_eq!(slices(&many), ["default/web-1", "default/web-2"]);
}

#[test]
fn lists_of_both_kinds() {
    let bare = item(&SLICE[SLICE.find("metadata").unwrap()..]);
    let list =
        format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSliceList\nmetadata: {{}}\nitems:\n{bare}");
    assert_eq!(slices(&list), ["default/web-1"]);
    let other = "- {apiVersion: v1, kind: Service, metadata: {name: web}, ports: x, endpoints: 3}\n";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}{other}{bare}", item(&renamed("web-2")));
    let content = read(list.as_bytes()).unwrap();
    assert_eq!((content.slices.len(), content.ignored_objects), (2, 1));
    for empty in ["[]", "null"] {
        assert_eq!(slices(&format!("apiVersion: v1\nkind: List\nitems: {empty}\n")), [""; 0]);
    }
}

#[test]
fn json_is_read_too() {
    let text = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice", "metadata": {"name": "web-1"}, "addressType": "IPv6", "endpoints": null}]}"#;
    assert_eq!(slices(text), ["default/web-1"]);
    assert_eq!(slices(&text.replace('\n', "\n\t")), ["default/web-1"]);
}

#[test]
fn other_kinds_beside_a_slice_are_counted() {
    let content =
        read(format!("{SLICE}---\napiVersion: v1\nkind: Service\nmetadata: {{}}\n").as_bytes()).unwrap();
    assert_eq!((content.slices.len(), content.ignored_objects), (1, 1));
}

#[test]
fn what_is_wrong_is_said() {
    let without =
        |field: &str| SLICE.lines().filter(|line| !line.starts_with(field)).collect::<Vec<_>>().join("\n");
    let mut texts = vec![
        error(""),
        error("# only a comment\n"),
        error("---\n---\n"),
        error("null"),
        error("text"),
        error("[]"),
        error("a: [\n"),
        error("{\"a\": 1,\n}}"),
        error("apiVersion: v1\nkind: Service\n"),
        error("apiVersion: v1\nkind: List\n"),
        error("apiVersion: v1\nkind: List\nitems: {}\n"),
        error("apiVersion: v1\nkind: List\nitems: [3]\n"),
        error(&format!("apiVersion: v1\nkind: List\nitems:\n{}", item(&without("endpoints")))),
        error(&SLICE.replace("v1", "v1beta1")),
        error(&SLICE.replace("EndpointSlice", "EndpointSlices")),
        error(&format!("{SLICE}---\n{}", renamed("\"\""))),
    ];
    texts.extend(
        ["apiVersion", "kind", "metadata", "addressType", "endpoints"].map(|field| error(&without(field))),
    );
    insta::assert_snapshot!(texts.join("\n"));
    assert!(matches!(read(b"a: \xff"), Err(InvalidFile::Encoding(3))));
    assert!(matches!(read(&vec![b' '; MAX_FILE_BYTES + 1]), Err(InvalidFile::TooLarge)));
}

/// A prefix of a valid file may be valid: that is why files are not read while they are written. What matters here
/// is that each has an answer.
#[test]
fn every_prefix_has_an_answer() {
    let text = format!("{SLICE}---\n{}", renamed("web-2"));
    let valid = (0..text.len()).filter(|end| read(&text.as_bytes()[..*end]).is_ok()).count();
    assert!(valid > 1, "{valid}");
}

#[test]
fn a_small_file_cannot_grow_when_it_is_read() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(matches!(read(bomb.as_bytes()), Err(InvalidFile::Syntax(_))));
    assert!(read("[".repeat(100_000).as_bytes()).is_err());
    assert!(read("{\"a\":".repeat(100_000).as_bytes()).is_err());
    assert!(read("- ".repeat(100_000).as_bytes()).is_err());
}

fn fixtures() -> Vec<PathBuf> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let mut paths: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The slices that belong to the example of a configuration.
#[test]
fn the_example_is_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../config/examples/endpoints/web.yaml");
    let content = read(&fs::read(path).unwrap()).unwrap();
    let ports: Vec<_> =
        content.slices.iter().map(|slice| (slice.ports[0].number, slice.endpoints.len())).collect();
    assert_eq!(ports, [(8081, 1), (8082, 1)]);
    assert!(content.slices.iter().all(|slice| slice.service.as_ref().unwrap().to_string() == "default/web"));
}

/// Every list that a real API server gave is a slice file as it stands.
#[test]
fn recorded_lists_are_read() {
    let mut lists = 0;
    for path in fixtures() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.contains("list") && name.ends_with(".json") {
            let bytes = fs::read(&path).unwrap();
            let content = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            let value: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(content.slices.len(), value["items"].as_array().unwrap().len(), "{name}");
            assert_eq!(content.ignored_objects, 0, "{name}");
            assert!(
                content.slices.iter().all(|slice| slice.ignored_ports == 0 && slice.ignored_endpoints == 0)
            );
            lists += 1;
        }
    }
    assert!(lists >= 10, "{lists}");
}

/// Every object of a real watch is a slice, and as YAML it is the same one.
#[test]
fn recorded_watches_are_read() {
    let mut objects = 0;
    for path in fixtures() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".jsonl") || name.contains("timeline") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let object = &event["object"];
            if !matches!(event["type"].as_str(), Some("ADDED" | "MODIFIED" | "DELETED")) {
                assert!(from_json(object).is_err(), "{name}: a bookmark or an error is no slice");
                continue;
            }
            let slice = from_json(object).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(slice.endpoints.len(), object["endpoints"].as_array().map_or(0, Vec::len), "{name}");
            assert_eq!(
                (slice.ignored_ports, slice.ignored_endpoints, slice.is_fqdn),
                (0, 0, false),
                "{name}"
            );
            let yaml = serde_saphyr::to_string(object).unwrap();
            assert_eq!(read(yaml.as_bytes()).unwrap().slices, [slice], "{name}:\n{yaml}");
            objects += 1;
        }
    }
    assert!(objects > 100, "{objects}");
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_read(&bytes);
        }

        #[test]
        fn a_slice_with_some_bytes_changed_has_an_answer(
            changes in prop::collection::vec((0..SLICE.len(), any::<u8>()), 1..4),
        ) {
            let mut bytes = SLICE.as_bytes().to_vec();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            fuzz_read(&bytes);
        }

        #[test]
        fn any_lines_of_a_slice_have_an_answer(lines in prop::collection::vec((0..7_usize, 0..3_usize), 0..12)) {
            let text: String = lines
                .iter()
                .map(|(line, indent)| format!("{}{}\n", " ".repeat(*indent), SLICE.lines().nth(*line).unwrap_or("---")))
                .collect();
            fuzz_read(text.as_bytes());
        }
    }
}
