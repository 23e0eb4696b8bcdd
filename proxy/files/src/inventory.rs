//! What the files of a directory say, joined: which slice counts where two files have one of the same name, and what
//! a change of one file changes. Pure; reading files is `directory`'s business.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    time::SystemTime,
};

use tidegate_core::{Slice, SliceName};

/// Which file counts more: the one that was written later, then the one whose name sorts later. The same files
/// always give the same answer, in whatever order they were read.
pub(crate) type Precedence = (SystemTime, OsString);

/// What a valid file says.
#[derive(Clone, Debug)]
pub(crate) struct FileSlices {
    pub(crate) written: SystemTime,
    pub(crate) slices: Vec<Slice>,
    pub(crate) ignored_objects: u32,
}

/// What a change of a file changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Slices that are new or different.
    pub(crate) applied: Vec<Slice>,
    /// Slices that no file has any more.
    pub(crate) gone: Vec<SliceName>,
    /// Slices that two files have, or one file twice, and that have not been reported before.
    pub(crate) contested: Vec<SliceName>,
}

/// The joined files.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    files: BTreeMap<OsString, KnownFile>,
    holders: BTreeMap<SliceName, BTreeSet<Precedence>>,
    current: BTreeMap<SliceName, Slice>,
    contested: BTreeSet<SliceName>,
}

#[derive(Debug)]
struct KnownFile {
    written: SystemTime,
    slices: BTreeMap<SliceName, Slice>,
    /// Names that it has more than once.
    doubled: BTreeSet<SliceName>,
    ignored_objects: u32,
}

impl Inventory {
    /// Replaces what a file says; `None` where the file is gone.
    pub(crate) fn replace(&mut self, file: OsString, content: Option<FileSlices>) -> Changes {
        let mut changes = Changes::default();
        let mut touched = BTreeSet::new();
        if let Some(known) = self.files.remove(&file) {
            let precedence = (known.written, file.clone());
            for name in known.slices.into_keys() {
                if let Some(holders) = self.holders.get_mut(&name) {
                    holders.remove(&precedence);
                }
                touched.insert(name);
            }
        }
        if let Some(FileSlices { written, slices, ignored_objects }) = content {
            let mut by_name = BTreeMap::new();
            let mut doubled = BTreeSet::new();
            for slice in slices {
                let name = slice.name.clone();
                if by_name.insert(name.clone(), slice).is_some() {
                    doubled.insert(name.clone());
                }
                self.holders.entry(name.clone()).or_default().insert((written, file.clone()));
                touched.insert(name);
            }
            self.files.insert(file, KnownFile { written, slices: by_name, doubled, ignored_objects });
        }
        for name in touched {
            self.settle(name, &mut changes);
        }
        changes
    }

    /// Works out what counts for one name.
    fn settle(&mut self, name: SliceName, changes: &mut Changes) {
        let holders = self.holders.get(&name);
        let file = holders.and_then(|holders| holders.last()).and_then(|(_, file)| self.files.get(file));
        let is_contested = holders.is_some_and(|holders| holders.len() > 1)
            || file.is_some_and(|file| file.doubled.contains(&name));
        let winner = file.and_then(|file| file.slices.get(&name)).cloned();
        match winner {
            Some(slice) => {
                if !is_contested {
                    self.contested.remove(&name);
                } else if self.contested.insert(name.clone()) {
                    changes.contested.push(name.clone());
                }
                if self.current.get(&name) != Some(&slice) {
                    self.current.insert(name, slice.clone());
                    changes.applied.push(slice);
                }
            }
            None => {
                self.holders.remove(&name);
                self.contested.remove(&name);
                if self.current.remove(&name).is_some() {
                    changes.gone.push(name);
                }
            }
        }
    }

    /// Every slice that counts.
    pub(crate) fn slices(&self) -> impl ExactSizeIterator<Item = &Slice> {
        self.current.values()
    }

    /// Whether any file has this slice.
    pub(crate) fn has(&self, name: &SliceName) -> bool {
        self.current.contains_key(name)
    }

    /// The files that say something.
    pub(crate) fn files(&self) -> impl Iterator<Item = &OsString> {
        self.files.keys()
    }

    /// Objects of other kinds in all files.
    pub(crate) fn ignored_objects(&self) -> u32 {
        self.files.values().map(|file| file.ignored_objects).sum()
    }

    /// Slices that more than one file has, or one file twice.
    pub(crate) fn contested(&self) -> impl Iterator<Item = &SliceName> {
        self.contested.iter()
    }
}

#[cfg(test)]
mod tests;
