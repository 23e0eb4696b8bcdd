use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};

use super::*;
use crate::status::{DirectoryState, SourceReport};

/// Long enough for any machine; a test that meets it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// A slice of `default/web` with one endpoint.
fn slice(name: &str, address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: \
         {{kubernetes.io/service-name: web}}}}\naddressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints: \
         [{{addresses: [{address}]}}]\n"
    )
}

/// A directory of its own that is followed.
struct Followed {
    runtime: Runtime,
    events: mpsc::Receiver<(Event, Instant)>,
    follower: Follower,
    directory: PathBuf,
    beside: TempDir,
}

impl Followed {
    /// Follows `endpoints` in a new directory, which `prepare` may fill.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let beside = tempfile::tempdir().unwrap();
        let directory = beside.path().join("endpoints");
        prepare(&directory);
        let (sender, events) = mpsc::channel(64);
        let follower = follow(&directory, sender).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        Self { runtime, events, follower, directory, beside }
    }

    /// The same with the directory there, and its first list taken.
    fn listed(prepare: impl FnOnce(&Path)) -> Self {
        let mut followed = Self::new(|directory| {
            fs::create_dir(directory).unwrap();
            prepare(directory);
        });
        let _ = followed.list();
        followed
    }

    /// The next event, in words.
    fn next(&mut self) -> String {
        let next = async { timeout(DEADLINE, self.events.recv()).await };
        let (event, _) = self.runtime.block_on(next).expect("an event in time").expect("the source runs");
        let words = |slice: &tidegate_core::Slice| {
            let addresses: Vec<_> =
                slice.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
            format!("{}={}", slice.name.name, addresses.join("+"))
        };
        match event {
            Event::SlicesListed(slices) => {
                let mut all: Vec<_> = slices.iter().map(words).collect();
                all.insert(0, "list".to_owned());
                all.join(" ")
            }
            Event::SliceApplied(slice) => format!("apply {}", words(&slice)),
            Event::SliceDeleted(name) => format!("delete {}", name.name),
            other => panic!("a source of slices does not say {other:?}"),
        }
    }

    /// The next event, which must be a list.
    fn list(&mut self) -> String {
        let next = self.next();
        assert!(next.starts_with("list"), "{next}");
        next
    }

    /// The next event after lists that say what is known.
    fn next_but(&mut self, known: &str) -> String {
        loop {
            let next = self.next();
            if next != known {
                return next;
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes beside and renames, as the README says.
    fn put(&self, name: &str, text: &str) {
        let beside = self.beside.path().join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    fn report(&self) -> SourceReport {
        self.follower.status().report()
    }

    /// Waits until the report is as wanted.
    fn wait_for(&self, wanted: impl Fn(&SourceReport) -> bool) -> SourceReport {
        let since = Instant::now();
        loop {
            let report = self.report();
            if wanted(&report) {
                return report;
            }
            assert!(since.elapsed() < DEADLINE, "{report:#?}");
            thread::yield_now();
        }
    }
}

/// B9: a file that is replaced by a rename is read once, whole.
#[test]
fn a_rename_replaces_a_file() {
    let mut followed = Followed::new(|directory| {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("web.yaml"), slice("a", "10.0.0.1")).unwrap();
    });
    assert_eq!(followed.next(), "list a=10.0.0.1");
    followed.put("web.yaml", &slice("a", "10.0.0.2"));
    assert_eq!(followed.next(), "apply a=10.0.0.2");
    let report = followed.report();
    assert_eq!((report.files, report.slices, report.state), (1, 1, DirectoryState::Following));
}

/// B9: a prefix of valid YAML is not read while its writer has not closed the file.
#[test]
fn a_half_written_file_is_not_read() {
    let mut followed = Followed::listed(|_| {});
    let text = slice("a", "10.0.0.1") + "---\n" + &slice("b", "10.0.0.2");
    let half = text.find("---").unwrap();
    let mut file = File::create(followed.path("web.yaml")).unwrap();
    file.write_all(&text.as_bytes()[..half]).unwrap();
    file.sync_all().unwrap();
    // Whatever the write above had caused would come before this.
    followed.put("marker.yaml", &slice("marker", "10.0.0.9"));
    assert_eq!(followed.next(), "apply marker=10.0.0.9");
    file.write_all(&text.as_bytes()[half..]).unwrap();
    drop(file);
    assert_eq!(followed.next(), "apply a=10.0.0.1");
    assert_eq!(followed.next(), "apply b=10.0.0.2");
}

/// B9: an invalid file leaves its last good state, is counted once per content, and is shown.
#[test]
fn an_invalid_file_leaves_the_last_good_state() {
    let mut followed = Followed::listed(|directory| {
        fs::write(directory.join("web.yaml"), slice("a", "10.0.0.1")).unwrap();
    });
    followed.put("web.yaml", "apiVersion: discovery.k8s.io/v1\nkind: [");
    let report = followed.wait_for(|report| !report.invalid.is_empty());
    assert_eq!((report.slices, report.invalid_total), (1, 1));
    assert_eq!(report.invalid[0].path, followed.path("web.yaml"));
    followed.put("web.yaml", "apiVersion: discovery.k8s.io/v1\nkind: [");
    followed.put("web.yaml", "");
    let report = followed.wait_for(|report| report.invalid_total == 2);
    assert!(report.invalid[0].error.contains("holds no document"), "{report:?}");
    followed.follower.rescan();
    assert_eq!(followed.next(), "list a=10.0.0.1");
    followed.put("web.yaml", &slice("a", "10.0.0.2"));
    assert_eq!(followed.next(), "apply a=10.0.0.2");
    followed.wait_for(|report| report.invalid.is_empty());
}

/// B9: a mounted ConfigMap changes by one rename of `..data`, and all of it is told as one.
#[test]
fn the_links_of_a_configmap_are_swapped() {
    let version = |directory: &Path, version: &str, files: &[(&str, String)]| {
        fs::create_dir(directory.join(version)).unwrap();
        for (name, text) in files {
            fs::write(directory.join(version).join(name), text).unwrap();
        }
    };
    let mut followed = Followed::new(|directory| {
        fs::create_dir(directory).unwrap();
        let both = [("a.yaml", slice("a", "10.0.0.1")), ("b.yaml", slice("b", "10.0.0.2"))];
        version(directory, "..1", &both);
        symlink("..1", directory.join("..data")).unwrap();
        for name in ["a.yaml", "b.yaml"] {
            symlink(Path::new("..data").join(name), directory.join(name)).unwrap();
        }
    });
    assert_eq!(followed.next(), "list a=10.0.0.1 b=10.0.0.2");
    let both = [("a.yaml", slice("a", "10.0.0.3")), ("b.yaml", slice("b", "10.0.0.4"))];
    version(&followed.directory, "..2", &both);
    symlink("..2", followed.path("..data_tmp")).unwrap();
    fs::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
    assert_eq!(followed.next(), "list a=10.0.0.3 b=10.0.0.4");
    fs::remove_dir_all(followed.path("..1")).unwrap();

    // A new key gets its link after the swap; the link of one that is gone leads nowhere and is removed later.
    version(
        &followed.directory,
        "..3",
        &[("a.yaml", slice("a", "10.0.0.5")), ("c.yaml", slice("c", "10.0.0.6"))],
    );
    symlink("..3", followed.path("..data_tmp")).unwrap();
    fs::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
    assert_eq!(followed.next(), "list a=10.0.0.5");
    symlink("..data/c.yaml", followed.path("c.yaml")).unwrap();
    assert_eq!(followed.next(), "apply c=10.0.0.6");
    fs::remove_file(followed.path("b.yaml")).unwrap();
    followed.put("marker.yaml", &slice("marker", "10.0.0.9"));
    assert_eq!(followed.next(), "apply marker=10.0.0.9");
    assert_eq!(followed.report().invalid, []);
}

/// B9: a swapped version that is invalid leaves the last good state.
#[test]
fn an_invalid_version_of_a_configmap_changes_nothing() {
    let mut followed = Followed::listed(|directory| {
        for (version, text) in [("..1", slice("a", "10.0.0.1")), ("..2", "kind: List".to_owned())] {
            fs::create_dir(directory.join(version)).unwrap();
            fs::write(directory.join(version).join("a.yaml"), text).unwrap();
        }
        symlink("..1", directory.join("..data")).unwrap();
        symlink("..data/a.yaml", directory.join("a.yaml")).unwrap();
        symlink("..2", directory.join("..data_tmp")).unwrap();
    });
    fs::rename(followed.path("..data_tmp"), followed.path("..data")).unwrap();
    assert_eq!(followed.next(), "list a=10.0.0.1");
    assert_eq!(followed.report().invalid.len(), 1);
}

#[test]
fn a_removed_file_takes_its_slices_with_it() {
    let mut followed = Followed::listed(|directory| {
        let two = slice("a", "10.0.0.1") + "---\n" + &slice("b", "10.0.0.2");
        fs::write(directory.join("web.yaml"), two).unwrap();
        fs::write(directory.join("away.yml"), slice("c", "10.0.0.3")).unwrap();
    });
    fs::remove_file(followed.path("web.yaml")).unwrap();
    assert_eq!(followed.next(), "delete a");
    assert_eq!(followed.next(), "delete b");
    fs::rename(followed.path("away.yml"), followed.beside.path().join("away.yml")).unwrap();
    assert_eq!(followed.next(), "delete c");
    assert_eq!(followed.report().files, 0);
}

/// S2: a slice that moves between files, or a file that is renamed, is never missing meanwhile.
#[test]
fn a_slice_that_moves_between_files_is_not_missed() {
    let mut followed = Followed::listed(|directory| {
        let two = slice("a", "10.0.0.1") + "---\n" + &slice("b", "10.0.0.2");
        fs::write(directory.join("1.yaml"), two).unwrap();
    });
    followed.put("2.yaml", &(slice("b", "10.0.0.3") + "---\n" + &slice("c", "10.0.0.4")));
    followed.put("1.yaml", &slice("a", "10.0.0.1"));
    assert_eq!(followed.next(), "apply b=10.0.0.3");
    assert_eq!(followed.next(), "apply c=10.0.0.4");
    fs::rename(followed.path("1.yaml"), followed.path("3.yaml")).unwrap();
    followed.put("2.yaml", &slice("c", "10.0.0.4"));
    // The renamed file's slice may be told again, but no deletion of it may come.
    let mut next = followed.next();
    if next == "apply a=10.0.0.1" {
        next = followed.next();
    }
    assert_eq!(next, "delete b");
}

#[test]
fn a_slice_that_another_file_has_stays() {
    let mut followed = Followed::listed(|directory| {
        fs::write(directory.join("1.yaml"), slice("a", "10.0.0.1")).unwrap();
    });
    followed.put("2.yaml", &slice("a", "10.0.0.2"));
    assert_eq!(followed.next(), "apply a=10.0.0.2");
    assert_eq!(followed.report().contested, ["default/a"]);
    fs::remove_file(followed.path("2.yaml")).unwrap();
    assert_eq!(followed.next(), "apply a=10.0.0.1");
    followed.wait_for(|report| report.contested.is_empty());
}

#[test]
fn only_slice_files_are_read() {
    let mut followed = Followed::listed(|directory| {
        for name in ["README.md", ".hidden.yaml", "web.yaml~", ".web.yaml.swp", "yaml"] {
            fs::write(directory.join(name), slice("no", "10.0.0.1")).unwrap();
        }
        fs::create_dir(directory.join("directory.yaml")).unwrap();
    });
    followed.put("web.json", "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}");
    fs::write(followed.path("notes.txt"), "").unwrap();
    followed.put("web.yaml", &slice("a", "10.0.0.1"));
    assert_eq!(followed.next(), "apply a=10.0.0.1");
    let report = followed.report();
    assert_eq!((report.files, report.invalid.len()), (3, 1), "{report:?}");
    assert!(report.invalid[0].error.contains("not a regular file"), "{report:?}");
}

#[test]
fn a_hard_link_is_complete_when_it_appears() {
    let mut followed = Followed::listed(|_| {});
    let beside = followed.beside.path().join("beside");
    fs::write(&beside, slice("a", "10.0.0.1")).unwrap();
    fs::hard_link(beside, followed.path("a.yaml")).unwrap();
    assert_eq!(followed.next(), "apply a=10.0.0.1");
}

#[test]
fn a_directory_that_does_not_exist_is_waited_for() {
    let beside = tempfile::tempdir().unwrap();
    let deep = beside.path().join("not/yet/there");
    let (sender, events) = mpsc::channel(64);
    let follower = follow(&deep, sender).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut followed = Followed { runtime, events, follower, directory: deep, beside };
    followed.wait_for(|report| report.state == DirectoryState::Missing);
    assert!(followed.events.try_recv().is_err());
    fs::create_dir_all(&followed.directory).unwrap();
    assert_eq!(followed.next(), "list");
    followed.put("a.yaml", &slice("a", "10.0.0.1"));
    assert_eq!(followed.next_but("list"), "apply a=10.0.0.1");
}

/// What is known stays while the directory is away; when another takes its place, that counts.
#[test]
fn a_directory_is_replaced() {
    let mut followed = Followed::listed(|directory| {
        fs::write(directory.join("a.yaml"), slice("a", "10.0.0.1")).unwrap();
    });
    fs::rename(&followed.directory, followed.beside.path().join("old")).unwrap();
    assert_eq!(followed.wait_for(|report| report.state == DirectoryState::Missing).slices, 1);
    let new = followed.beside.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("b.yaml"), slice("b", "10.0.0.2")).unwrap();
    fs::rename(new, &followed.directory).unwrap();
    assert_eq!(followed.next(), "list b=10.0.0.2");
    followed.put("c.yaml", &slice("c", "10.0.0.3"));
    assert_eq!(followed.next_but("list b=10.0.0.2"), "apply c=10.0.0.3");
}

#[test]
fn a_link_to_a_directory_is_swapped() {
    let mut followed = Followed::new(|directory| {
        for (name, address) in [("1", "10.0.0.1"), ("2", "10.0.0.2")] {
            let version = directory.with_file_name(name);
            fs::create_dir(&version).unwrap();
            fs::write(version.join("a.yaml"), slice("a", address)).unwrap();
        }
        symlink("1", directory).unwrap();
    });
    assert_eq!(followed.next(), "list a=10.0.0.1");
    let next = followed.beside.path().join("next");
    symlink("2", &next).unwrap();
    fs::rename(next, &followed.directory).unwrap();
    assert_eq!(followed.next_but("list a=10.0.0.1"), "list a=10.0.0.2");
}

/// After lost news everything is read again, and what is gone is not in the list.
#[test]
fn a_rescan_tells_everything() {
    let mut followed = Followed::listed(|directory| {
        fs::write(directory.join("a.yaml"), slice("a", "10.0.0.1")).unwrap();
    });
    let sorter_sees_overflow =
        notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    signals::sort_for_test(&followed.directory, &followed.follower.signals, sorter_sees_overflow);
    assert_eq!(followed.next(), "list a=10.0.0.1");
    assert_eq!(followed.report().listings_total, 2);
}

#[test]
fn arrival_is_when_the_news_came() {
    let mut followed = Followed::listed(|_| {});
    let before = Instant::now();
    followed.put("a.yaml", &slice("a", "10.0.0.1"));
    let next = async { timeout(DEADLINE, followed.events.recv()).await };
    let (_, arrived) = followed.runtime.block_on(next).unwrap().unwrap();
    assert!(arrived >= before && arrived <= Instant::now());
}

#[test]
fn the_thread_ends_with_its_follower_or_its_receiver() {
    let followed = Followed::listed(|_| {});
    let Followed { follower, mut events, runtime, .. } = followed;
    drop(follower);
    let next = async { timeout(DEADLINE, events.recv()).await };
    assert!(runtime.block_on(next).expect("the source ends in time").is_none());

    let followed = Followed::listed(|_| {});
    let status = Arc::downgrade(&followed.follower.status());
    let Followed { follower, events, .. } = followed;
    drop(events);
    follower.rescan();
    let since = Instant::now();
    // The thread and the follower hold it; then only the follower does.
    while status.strong_count() > 1 {
        assert!(since.elapsed() < DEADLINE, "the thread ends when nobody receives");
        thread::yield_now();
    }
}

/// What an error quotes of a file can be shown on a terminal.
#[test]
fn an_error_quotes_little_and_nothing_harmful() {
    let followed = Followed::listed(|directory| {
        let text = slice("a", "10.0.0.1").replace("IPv4", &format!("\"\\e[2J\\n{}\"", "x".repeat(10_000)));
        fs::write(directory.join("web.yaml"), text).unwrap();
    });
    let report = followed.report();
    let error = &report.invalid[0].error;
    assert!(error.contains("addressType") && error.len() <= 500, "{error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
