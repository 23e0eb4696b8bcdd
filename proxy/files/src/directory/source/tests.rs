use std::fs;

use super::*;

fn slice(name: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}}}\naddressType: \
         IPv4\nendpoints: []\n---\n"
    )
}

/// A source whose thread is the test.
struct Stepped {
    source: Source,
    events: mpsc::Receiver<(Event, Instant)>,
    directory: tempfile::TempDir,
}

impl Stepped {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (sender, events) = mpsc::channel(64);
        let source = Source::new(directory.path().to_owned(), sender, Arc::default(), Arc::default());
        Self { source, events, directory }
    }

    /// Writes a file with these slices and has it read.
    fn write(&mut self, file: &str, slices: &[&str], arrived: Instant) {
        let text: String = slices.iter().map(|name| slice(name)).collect();
        fs::write(self.directory.path().join(file), text).unwrap();
        let changed = BTreeMap::from([(OsString::from(file), arrived)]);
        assert!(self.source.read_changed(News { changed, ..News::default() }).is_ok());
    }

    /// What was told since, in words.
    fn told(&mut self) -> Vec<String> {
        let words = |event| match event {
            Event::SliceApplied(slice) => format!("apply {}", slice.name.name),
            Event::SliceDeleted(name) => format!("delete {}", name.name),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|(event, _)| words(event)).collect()
    }
}

/// S2: a slice is gone from one file before the other one has it, and no deletion of it is told.
#[test]
fn a_slice_that_is_back_soon_was_never_gone() {
    let mut stepped = Stepped::new();
    let start = Instant::now();
    stepped.write("1.yaml", &["a", "b"], start);
    assert_eq!(stepped.told(), ["apply a", "apply b"]);
    stepped.write("1.yaml", &["a"], start);
    assert!(stepped.source.tell_gone(start + LINGER / 2).is_ok());
    assert_eq!(stepped.told(), [""; 0]);
    stepped.write("2.yaml", &["b"], start);
    assert!(stepped.source.tell_gone(start + LINGER).is_ok());
    assert_eq!(stepped.told(), ["apply b"]);
}

#[test]
fn a_slice_that_stays_away_is_gone() {
    let mut stepped = Stepped::new();
    let start = Instant::now();
    stepped.write("1.yaml", &["a", "b"], start);
    stepped.write("1.yaml", &["a"], start);
    assert_eq!(stepped.told(), ["apply a", "apply b"]);
    assert!(stepped.source.tell_gone(start + LINGER).is_ok());
    assert_eq!(stepped.told(), ["delete b"]);
    assert!(stepped.source.leaving.is_empty());
}
