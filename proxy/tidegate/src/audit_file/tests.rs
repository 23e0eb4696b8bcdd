use super::*;

fn writer() -> Writer {
    Writer { target: Target::None, failed: None, counters: Arc::default() }
}

fn lost(writer: &Writer) -> u64 {
    writer.counters.audit_lost.load(Ordering::Relaxed)
}

/// A file that was renamed or removed is made anew, and what was written stays in the old one.
#[test]
fn a_file_that_was_renamed_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("audit"), directory.path().join("audit.1"));
    let mut writer = writer();
    writer.open(Some(AuditFile::Path(path.clone())));
    writer.write(b"one\n");
    fs::rename(&path, &old).unwrap();
    writer.write(b"two\n");
    fs::remove_file(&path).unwrap();
    writer.write(b"three\n");
    writer.write(b"four\n");
    assert_eq!(fs::read_to_string(&old).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
    assert_eq!(lost(&writer), 0);
}

/// What cannot be written is counted, and writing goes on as soon as it can.
#[test]
fn a_file_that_cannot_be_opened_costs_records_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("missing");
    let path = folder.join("audit");
    let mut writer = writer();
    writer.open(Some(AuditFile::Path(path.clone())));
    writer.write(b"one\n");
    writer.write(b"two\n");
    assert_eq!(lost(&writer), 2);
    fs::create_dir(&folder).unwrap();
    writer.write(b"three\n");
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), lost(&writer)), ("three\n", 2));
    writer.open(None);
    writer.write(b"nowhere\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
}
