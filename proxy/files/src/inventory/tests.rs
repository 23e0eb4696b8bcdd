use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;

fn name(name: &str) -> SliceName {
    SliceName { namespace: Arc::from("default"), name: Arc::from(name) }
}

/// A slice that tells itself apart by its generation.
fn slice(slice: &str, generation: u64) -> Slice {
    Slice {
        name: name(slice),
        service: None,
        generation,
        ports: Vec::new(),
        endpoints: Vec::new(),
        ignored_ports: 0,
        ignored_endpoints: 0,
        is_fqdn: false,
    }
}

fn file(written: u64, slices: &[(&str, u64)]) -> Option<FileSlices> {
    Some(FileSlices {
        written: SystemTime::UNIX_EPOCH + Duration::from_secs(written),
        slices: slices.iter().map(|(name, generation)| slice(name, *generation)).collect(),
        ignored_objects: 1,
    })
}

/// What counts, as "name:generation".
fn counts(inventory: &Inventory) -> Vec<String> {
    inventory.slices().map(|slice| format!("{}:{}", slice.name.name, slice.generation)).collect()
}

#[test]
fn only_what_changed_is_told() {
    let mut inventory = Inventory::default();
    let changes = inventory.replace("a".into(), file(1, &[("x", 1), ("y", 1)]));
    assert_eq!(changes.applied, [slice("x", 1), slice("y", 1)]);
    let changes = inventory.replace("a".into(), file(2, &[("y", 1), ("x", 2)]));
    assert_eq!(changes, Changes { applied: vec![slice("x", 2)], ..Changes::default() });
    let changes = inventory.replace("a".into(), file(3, &[("x", 2)]));
    assert_eq!(changes, Changes { gone: vec![name("y")], ..Changes::default() });
    assert!(inventory.has(&name("x")) && !inventory.has(&name("y")));
    assert_eq!(inventory.ignored_objects(), 1);
    assert_eq!(inventory.replace("a".into(), None).gone, [name("x")]);
    assert_eq!((inventory.files().count(), inventory.slices().len()), (0, 0));
}

#[test]
fn the_file_that_was_written_last_counts() {
    let mut inventory = Inventory::default();
    inventory.replace("a".into(), file(1, &[("x", 1)]));
    let changes = inventory.replace("b".into(), file(2, &[("x", 2)]));
    assert_eq!((changes.applied, changes.contested), (vec![slice("x", 2)], vec![name("x")]));
    // Read later, but written earlier.
    let changes = inventory.replace("c".into(), file(0, &[("x", 3)]));
    assert_eq!(changes, Changes::default());
    // Written at the same moment: the later name.
    let changes = inventory.replace("d".into(), file(2, &[("x", 4)]));
    assert_eq!(changes, Changes { applied: vec![slice("x", 4)], ..Changes::default() });
    assert_eq!(inventory.contested().collect::<Vec<_>>(), [&name("x")]);
    // Gone from one file, the other one's counts.
    assert_eq!(inventory.replace("d".into(), None).applied, [slice("x", 2)]);
    inventory.replace("b".into(), None);
    assert_eq!(inventory.replace("c".into(), None), Changes::default());
    assert_eq!((counts(&inventory), inventory.contested().count()), (vec!["x:1".to_owned()], 0));
}

#[test]
fn of_two_in_one_file_the_last_counts() {
    let mut inventory = Inventory::default();
    let changes = inventory.replace("a".into(), file(1, &[("x", 1), ("x", 2)]));
    assert_eq!((changes.applied, changes.contested), (vec![slice("x", 2)], vec![name("x")]));
    let changes = inventory.replace("a".into(), file(2, &[("x", 1), ("x", 3)]));
    assert_eq!(changes.contested, [], "it is reported once");
    inventory.replace("a".into(), file(3, &[("x", 3)]));
    assert_eq!(inventory.contested().count(), 0);
}

proptest! {
    /// The files alone decide what counts, not the order in which they were read; and whoever applies the changes
    /// one after the other has what counts.
    #[test]
    fn the_order_of_reading_does_not_matter(
        steps in prop::collection::vec(
            (0..3_usize, prop::option::of((0..3_u64, prop::collection::vec((0..3_usize, 0..3_u64), 0..4)))), 0..12,
        ),
    ) {
        const NAMES: [&str; 3] = ["x", "y", "z"];
        let mut inventory = Inventory::default();
        let mut told: BTreeMap<SliceName, Slice> = BTreeMap::new();
        let mut last = BTreeMap::new();
        for (at, content) in steps {
            let content = content.and_then(|(written, slices)| {
                let slices: Vec<_> = slices.iter().map(|(name, generation)| (NAMES[*name], *generation)).collect();
                file(written, &slices)
            });
            last.insert(NAMES[at], content.clone());
            let changes = inventory.replace(NAMES[at].into(), content);
            for slice in changes.applied {
                prop_assert_ne!(told.insert(slice.name.clone(), slice.clone()), Some(slice));
            }
            for name in changes.gone {
                prop_assert!(told.remove(&name).is_some());
            }
        }
        let mut again = Inventory::default();
        for (name, content) in last.into_iter().rev() {
            again.replace(name.into(), content);
        }
        prop_assert_eq!(counts(&inventory), counts(&again));
        let told: Vec<_> = told.into_values().collect();
        prop_assert_eq!(told, inventory.slices().cloned().collect::<Vec<_>>());
    }
}
