use super::*;

fn pods() -> Vec<Pod> {
    let phases = [Phase::Gone, Phase::Terminating, Phase::Ready, Phase::Starting, Phase::Unborn];
    let pod = |(number, phase)| {
        let address = SocketAddr::from(([127, 0, 3, number as u8 + 1], 7000));
        Pod { number, address, phase }
    };
    (0..).zip(phases).map(pod).collect()
}

/// Every file that an operator writes before its proxy starts, and the command.
fn prepared<O: Start>() -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let listener = SocketAddr::from(([127, 0, 0, 1], 7777));
    let setting = Setting { listener, directory: directory.path() };
    let mut command = Command::new("proxy");
    O::prepare(&setting, &pods(), &mut command).unwrap();
    let mut text = String::new();
    let mut folders = vec![directory.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    (text, format!("{command:?}"))
}

#[test]
fn every_mark_is_filled_and_only_ready_endpoints_get_flows() {
    let files = [prepared::<Tidegate>(), prepared::<Haproxy>(), prepared::<Nginx>(), prepared::<Envoy>()];
    for (text, command) in &files {
        assert!(!text.contains("{{"), "{text}");
        assert!(text.contains("7777") && text.contains("127.0.3.3"), "{text}");
        assert!(!text.contains("127.0.3.1:") && !text.contains("127.0.3.1\""), "gone: {text}");
        assert!(!text.contains("127.0.3.5"), "not there yet: {text}");
        assert!(command.starts_with("\"proxy\" \"") && command.contains("conf"), "{command}");
    }
    let [tidegate, haproxy, nginx, envoy] = files.map(|(text, _)| text);
    assert!(tidegate.contains("127.0.3.4") && tidegate.contains("127.0.3.2"), "{tidegate}");
    assert!(envoy.contains("DRAINING") && envoy.contains("127.0.3.2"), "{envoy}");
    for text in [haproxy, nginx] {
        assert!(!text.contains("127.0.3.2") && !text.contains("127.0.3.4"), "{text}");
    }
}

#[test]
fn a_replaced_file_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("watched");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("file.json");
    replace(&path, "one").unwrap();
    replace(&path, "two").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}
