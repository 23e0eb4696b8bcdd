use std::{fs, future::Future, os::unix::fs::symlink, path::Path};

use super::*;

/// Long enough for any machine; a test that meets it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test);
}

async fn told(watch: &mut FileWatch) {
    timeout(DEADLINE, watch.changed()).await.expect("told in time").unwrap();
}

#[test]
fn writing_and_renaming_are_told() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidegate.yaml");
        let mut watch = watch_file(&path).unwrap();
        fs::write(&path, "a").unwrap();
        told(&mut watch).await;
        fs::write(&path, "b").unwrap();
        told(&mut watch).await;
        let beside = directory.path().join("beside");
        fs::write(&beside, "c").unwrap();
        fs::rename(&beside, &path).unwrap();
        told(&mut watch).await;
        fs::remove_file(&path).unwrap();
        told(&mut watch).await;
    });
}

/// Reading, writing without closing, and what happens to other names are no news.
#[test]
fn only_what_may_have_changed_the_file_is_news() {
    use notify::event::{AccessKind, AccessMode, CreateKind, DataChange, Flag, ModifyKind, RenameMode};
    use notify::{Event, EventKind};

    let file = PathBuf::from("/a/tidegate.yaml");
    let names = BTreeSet::from([file.clone()]);
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    for kind in [written, renamed, EventKind::Create(CreateKind::File)] {
        assert!(is_news(&Ok(Event::new(kind).add_path(file.clone())), &names), "{kind:?}");
        assert!(!is_news(&Ok(Event::new(kind).add_path("/a/other".into())), &names), "{kind:?}");
    }
    let read = EventKind::Access(AccessKind::Close(AccessMode::Read));
    let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    for kind in [read, modified, EventKind::Access(AccessKind::Open(AccessMode::Any))] {
        assert!(!is_news(&Ok(Event::new(kind).add_path(file.clone())), &names), "{kind:?}");
    }
    assert!(is_news(&Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)), &names));
    assert!(is_news(&Err(notify::Error::generic("lost")), &names));
}

/// A ConfigMap that is mounted, and a link to a directory that is swapped.
#[test]
fn swapped_links_are_told() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["..1", "..2", "..3"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tidegate.yaml"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/tidegate.yaml", at("tidegate.yaml")).unwrap();
        let mut watch = watch_file(at("tidegate.yaml")).unwrap();
        for version in ["..2", "..3"] {
            symlink(Path::new(version), at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            told(&mut watch).await;
            assert_eq!(fs::read_to_string(at("tidegate.yaml")).unwrap(), version);
        }
    });
}

#[test]
fn a_directory_that_appears_is_told() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/yet/tidegate.yaml");
        let mut watch = watch_file(&path).unwrap();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        told(&mut watch).await;
        fs::write(&path, "a").unwrap();
        told(&mut watch).await;
    });
}

#[test]
fn a_dropped_wait_loses_nothing() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidegate.yaml");
        let mut watch = watch_file(&path).unwrap();
        fs::write(&path, "a").unwrap();
        // Each wait is dropped while it waits for quiet.
        let since = Instant::now();
        while !watch.pending {
            assert!(since.elapsed() < DEADLINE, "the change is seen");
            assert!(timeout(QUIET / 10, watch.changed()).await.is_err());
        }
        told(&mut watch).await;
    });
}
