//! B9: slice files that are replaced, half-written, invalid, or behind links that are swapped. What is not valid leaves
//! the last good state in force.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
};

use serde_json::json;
use tidegate_tests::support::{Endpoint, Slice, replace_file, until};

use crate::setup;

/// B9: a file that is renamed in replaces the one that was there.
#[test]
fn renamed_file_replaces_the_old_one() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    for _ in 0..10 {
        for endpoint in &endpoints {
            proxy.write_slice(&Slice::ready("web-1", [endpoint]));
            proxy.wait_for_eligible_to_be([endpoint]);
        }
    }
    proxy.expect_all_on(&endpoints[1]);
}

/// B9: a file is not read while its writer has it open, not even where what is there so far would be valid.
#[test]
fn half_written_file_is_not_read() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let events = || proxy.status().source.unwrap().events;
    let before = events();
    let mut file =
        File::options().write(true).truncate(true).open(proxy.slices().path().join("web-1.json")).unwrap();
    // Valid, and the end of the service if it were read.
    file.write_all(Slice::named("web-1").json().to_string().as_bytes()).unwrap();
    file.sync_all().unwrap();
    // A change of another file, made later, is in force: so the half-written one would have been, too.
    proxy.write_slice(&Slice::named("other").of_service("other"));
    until("the other file was read", || proxy.status().source.unwrap().slices == 2);
    assert_eq!(events(), before + 1);
    proxy.expect_all_on(&endpoints[0]);
    file.set_len(0).unwrap();
    drop(file);
    // Closed and empty: read, and found invalid.
    until("the file was read", || !proxy.status().source.unwrap().invalid_files.is_empty());
    proxy.expect_all_on(&endpoints[0]);
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    assert_eq!(proxy.status().source.unwrap().invalid_files, []);
}

/// B9: an invalid file keeps the last good state, shows in status and metric with what is wrong, is told once, and is
/// forgotten when it is valid again.
#[test]
fn invalid_file_keeps_the_last_good_state() {
    let endpoints = Endpoint::greeting_group(2);
    let proxy = setup().ready([&endpoints[0]]).start();
    let (mut flow, _) = proxy.connect_greeted();
    let mut no_endpoints = Slice::named("web-1").json();
    no_endpoints.as_object_mut().unwrap().remove("endpoints");
    let no_endpoints = no_endpoints.to_string();
    let invalid = [
        ("endpoints: [", ""),
        ("", "document"),
        (no_endpoints.as_str(), "endpoints"),
        (r#"{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}"#, ""),
        ("a: &a [*a, *a]", ""),
    ];
    for (number, (text, word)) in invalid.iter().enumerate() {
        proxy.slices().write_text("web-1.json", text);
        until("the invalid file was met", || {
            proxy.metrics().total("tidegate_source_invalid_total") == number as u64 + 1
        });
        let source = proxy.status().source.unwrap();
        assert_eq!(source.invalid_files.len(), 1);
        assert!(source.invalid_files[0].file.ends_with("web-1.json"));
        assert!(source.invalid_files[0].error.contains(word), "{}", source.invalid_files[0].error);
        assert_eq!(proxy.metrics().total("tidegate_source_files_invalid"), 1);
        proxy.expect_all_on(&endpoints[0]);
    }
    flow.exchange(b"still here");
    let told = proxy.log().matches("the slice file is invalid").count();
    assert_eq!(told, invalid.len());
    proxy.write_slice(&Slice::ready("web-1", [&endpoints[1]]));
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    assert_eq!(proxy.status().source.unwrap().invalid_files, []);
}

/// B9: a file that is removed takes its slices with it, and only those.
#[test]
fn removed_file_takes_its_slices_with_it() {
    let endpoints = Endpoint::greeting_group(2);
    let [first, second] = [0, 1].map(|number| Slice::ready(&format!("web-{number}"), [&endpoints[number]]));
    let proxy = setup().slice(&first).slice(&second).start();
    proxy.wait_for_eligible(2);
    proxy.slices().remove("web-0");
    proxy.wait_for_eligible_to_be([&endpoints[1]]);
    proxy.expect_all_on(&endpoints[1]);
}

/// B9: the directory is a ConfigMap's volume: its files are links through `..data`, which is swapped by a rename.
#[test]
fn swapped_config_map_is_followed() {
    let endpoints = Endpoint::greeting_group(3);
    let setup = setup();
    let volume = setup.directory().join("endpoints");
    let write = |version: usize| {
        let directory = volume.join(format!("..2026_{version}"));
        fs::create_dir(&directory).unwrap();
        let text = Slice::ready("web-1", [&endpoints[version]]).json().to_string();
        fs::write(directory.join("web.json"), text).unwrap();
        symlink(directory.file_name().unwrap(), volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if version > 0 {
            fs::remove_dir_all(volume.join(format!("..2026_{}", version - 1))).unwrap();
        }
    };
    write(0);
    symlink("..data/web.json", volume.join("web.json")).unwrap();
    let proxy = setup.start();
    proxy.expect_all_on(&endpoints[0]);
    let (mut flow, _) = proxy.connect_greeted();
    for (version, endpoint) in endpoints.iter().enumerate().skip(1) {
        write(version);
        proxy.wait_for_eligible_to_be([endpoint]);
        proxy.expect_all_on(endpoint);
    }
    flow.exchange(b"still here");
}

/// B9: the directory is not there at the start; clients are not refused for that before it has been read, and the
/// listener accepts as soon as it was.
#[test]
fn directory_that_appears_later_is_read() {
    let endpoint = Endpoint::greeting();
    let setup = setup().config(|config| config.set("source", json!({"endpointSliceDirectory": "../later"})));
    let later = setup.directory().join("later");
    let proxy = setup.spawn();
    until("the proxy answers", || proxy.admin().get("/livez").is_ok_and(|answer| answer.status == 200));
    let status = proxy.status();
    assert!(!status.ready && !status.source.unwrap().synced);
    assert_eq!(proxy.get("/readyz").status, 503);
    fs::create_dir(&later).unwrap();
    replace_file(&later.join("web.json"), &Slice::ready("web-1", [&endpoint]).json().to_string());
    proxy.wait_until_ready();
    proxy.wait_for_eligible(1);
    proxy.expect_all_on(&endpoint);
}

/// YAML with several documents, and a List, as kubectl prints them.
#[test]
fn yaml_documents_and_lists_are_read() {
    let endpoints = Endpoint::greeting_group(3);
    let text = |number: usize| Slice::ready(&format!("web-{number}"), [&endpoints[number]]).json();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [text(1), text(2)]});
    let proxy = setup().start();
    proxy.slices().write_text("all.yaml", &format!("---\n{}\n---\n{list}\n", text(0)));
    proxy.wait_for_eligible_to_be(&endpoints);
}
