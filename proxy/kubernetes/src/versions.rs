//! Never back in time: which news of an object are newer than what is known of it.
//!
//! Events may come twice or late, a list may come from a replica that is behind. Versions decide: an object's own where
//! it is known, where it was deleted that of its deletion, and for everything else the version up to which the watch is
//! known to be complete (a list's or a bookmark's).

use std::collections::HashMap;

use crate::meta::Key;

/// The versions of the objects of one watch.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    known: HashMap<Key, u64>,
    deleted: HashMap<Key, u64>,
    /// Everything up to here was told.
    complete: u64,
    /// The greatest version that was seen.
    newest: u64,
}

/// A list is older than what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    /// What is known.
    pub(crate) newest: u64,
    /// What the list has.
    pub(crate) listed: u64,
}

impl Versions {
    /// Whether an object is news. An object without a version always is.
    pub(crate) fn apply(&mut self, key: &Key, version: Option<u64>) -> bool {
        let Some(version) = version else {
            self.known.insert(key.clone(), 0);
            return true;
        };
        let is_news = match (self.known.get(key), self.deleted.get(key)) {
            (Some(known), _) => version > *known,
            (None, Some(deleted)) => version > *deleted,
            (None, None) => version > self.complete,
        };
        if is_news {
            self.known.insert(key.clone(), version);
            self.deleted.remove(key);
            self.newest = self.newest.max(version);
        }
        is_news
    }

    /// Whether a deletion is news.
    pub(crate) fn delete(&mut self, key: &Key, version: Option<u64>) -> bool {
        let Some(known) = self.known.get(key) else { return false };
        // The deletion has a version of its own; servers before 1.20 repeat the object's last one.
        if version.is_some_and(|version| version < *known) {
            return false;
        }
        self.known.remove(key);
        if let Some(version) = version {
            self.deleted.insert(key.clone(), version);
            self.newest = self.newest.max(version);
        }
        true
    }

    /// A bookmark: everything up to this version was told.
    pub(crate) fn bookmark(&mut self, version: Option<u64>) {
        let Some(version) = version else { return };
        self.complete = self.complete.max(version);
        self.newest = self.newest.max(version);
        let complete = self.complete;
        self.deleted.retain(|_, deleted| *deleted > complete);
    }

    /// Whether a complete list of this version may be believed.
    pub(crate) fn check(&self, listed: Option<u64>) -> Result<(), Stale> {
        match listed {
            Some(listed) if listed < self.newest => Err(Stale { newest: self.newest, listed }),
            _ => Ok(()),
        }
    }

    /// Takes a complete list for everything there is, and says which objects it lacks.
    pub(crate) fn list(
        &mut self,
        objects: impl Iterator<Item = (Key, Option<u64>)>,
        version: Option<u64>,
    ) -> Vec<Key> {
        let before = std::mem::take(&mut self.known);
        self.known = objects.map(|(key, version)| (key, version.unwrap_or_default())).collect();
        self.deleted.clear();
        // Also where it is less than before: a list that was believed begins everything anew.
        self.complete = version.unwrap_or_default();
        self.newest = self.complete;
        before.into_keys().filter(|key| !self.known.contains_key(key)).collect()
    }

    /// The version of an object that is known.
    pub(crate) fn known(&self, key: &Key) -> Option<u64> {
        self.known.get(key).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { namespace: "default".into(), name: name.into() }
    }

    fn listed(objects: &[(&str, u64)], version: u64) -> Versions {
        let mut versions = Versions::default();
        let objects = objects.iter().map(|(name, version)| (key(name), Some(*version)));
        assert_eq!(versions.list(objects, Some(version)), []);
        versions
    }

    #[test]
    fn duplicates_and_late_events_are_no_news() {
        let mut versions = listed(&[("a", 5)], 10);
        assert!(!versions.apply(&key("a"), Some(5)), "what the list had");
        assert!(versions.apply(&key("a"), Some(11)));
        assert!(!versions.apply(&key("a"), Some(11)), "twice");
        assert!(!versions.apply(&key("a"), Some(7)), "late");
        assert!(!versions.delete(&key("a"), Some(7)), "a late deletion of what was made again");
    }

    #[test]
    fn what_was_deleted_does_not_come_back_by_a_late_event() {
        let mut versions = listed(&[("a", 5)], 10);
        assert!(versions.delete(&key("a"), Some(12)));
        assert!(!versions.delete(&key("a"), Some(12)), "twice");
        assert!(!versions.apply(&key("a"), Some(11)));
        assert!(versions.apply(&key("a"), Some(13)), "made again");
    }

    #[test]
    fn what_a_list_lacks_does_not_come_back_by_an_event_from_before_it() {
        let mut versions = listed(&[("a", 5), ("b", 6)], 10);
        assert_eq!(versions.list([(key("b"), Some(6))].into_iter(), Some(20)), [key("a")]);
        assert!(!versions.apply(&key("a"), Some(15)));
        assert!(versions.apply(&key("a"), Some(21)));
    }

    #[test]
    fn deletions_are_forgotten_at_a_bookmark_and_still_hold() {
        let mut versions = listed(&[("a", 5)], 10);
        assert!(versions.delete(&key("a"), Some(12)));
        versions.bookmark(Some(12));
        assert!(versions.deleted.is_empty());
        assert!(!versions.apply(&key("a"), Some(11)));
    }

    #[test]
    fn a_list_older_than_an_event_or_a_bookmark_is_stale() {
        let mut versions = listed(&[("a", 5)], 10);
        assert_eq!(versions.check(Some(10)), Ok(()));
        versions.apply(&key("a"), Some(11));
        assert_eq!(versions.check(Some(10)), Err(Stale { newest: 11, listed: 10 }));
        versions.bookmark(Some(30));
        assert_eq!(versions.check(Some(29)), Err(Stale { newest: 30, listed: 29 }));
        assert_eq!(versions.check(Some(30)), Ok(()));
    }

    #[test]
    fn versions_that_are_no_numbers_are_not_compared() {
        let mut versions = Versions::default();
        assert!(versions.apply(&key("a"), None));
        assert!(versions.apply(&key("a"), None));
        assert!(versions.delete(&key("a"), None));
    }
}
