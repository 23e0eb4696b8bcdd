//! The way from a path to what it means, through symbolic links: the names whose change may change its meaning.
//!
//! A mounted ConfigMap is `web.yaml -> ..data/web.yaml` and `..data -> ..2026_01_01`: a new version is one rename of
//! `..data`, and nothing that is called `web.yaml` ever changes. A directory may be swapped in the same way.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The way to a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Names whose appearance, disappearance or replacement changes the meaning: links on the way, the end, or the
    /// first name that does not exist. Their parents exist and are no links.
    pub(crate) names: BTreeSet<PathBuf>,
    /// What the path means, if it exists.
    pub(crate) end: Option<PathBuf>,
}

impl Route {
    /// The way to an absolute path.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut route = Self::default();
        let mut ahead: Vec<OsString> = parts(path);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = ahead.pop() {
            if part == ".." {
                here.pop();
                continue;
            }
            let name = here.join(&part);
            match fs::symlink_metadata(&name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    route.names.insert(name);
                    return Ok(route);
                }
                Err(error) => return Err(error),
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(io::Error::other(format!(
                            "{} has too many symbolic links",
                            path.display()
                        )));
                    }
                    let target = fs::read_link(&name)?;
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    ahead.extend(parts(&target));
                    route.names.insert(name);
                }
                Ok(_) if ahead.is_empty() => {
                    route.names.insert(name.clone());
                    here = name;
                }
                Ok(_) => here = name,
            }
        }
        route.end = Some(here);
        Ok(route)
    }

    /// The directories in which the names are.
    pub(crate) fn parents(&self) -> BTreeSet<&Path> {
        self.names.iter().filter_map(|name| name.parent()).collect()
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
