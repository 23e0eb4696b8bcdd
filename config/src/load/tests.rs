use super::*;

fn example(name: &str) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    load(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_is_valid_and_has_no_warning() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(example(&name).warnings, [], "{name}");
            names.push(name);
        }
    }
    names.sort();
    assert_eq!(names, ["edge-fixed.yaml", "full.yaml", "standalone.yaml"]);
}

#[test]
fn what_the_standalone_example_means() {
    let loaded = example("standalone.yaml");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/endpoints");
    assert_eq!(
        loaded.configuration.endpoint_slice_directory.as_deref(),
        Some(&*directory)
    );
    let configs = loaded.configuration.service_configs();
    assert_eq!(configs.len(), 1);
    assert_eq!(configs[0].port.to_string(), "default/web:http");
    assert_eq!(configs[0].settings, tidegate_core::ServiceSettings::default());
    assert_eq!(configs[0].fixed, None);
}
