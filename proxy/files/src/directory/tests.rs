use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
};

use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};

use super::*;

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
