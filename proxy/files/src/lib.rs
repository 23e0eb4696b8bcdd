//! Files as a source: EndpointSlices in a directory, and a configuration file to be read again.
//!
//! [`directory::follow`] reads a directory of slice files and goes on to tell what changes in it, as
//! [`tidegate_core::Event`]s. [`watch::watch_file`] tells that a file may have changed. [`document`] is from the text
//! of a file to slices, [`mod@slice`] from one object to a [`tidegate_core::Slice`].
//!
//! Foreign types (a YAML node, a JSON value, a file system event) end here. Not decided here: what a slice means for
//! flows; that is the table's business.

pub mod directory;
pub mod document;
mod inventory;
mod route;
pub mod slice;
pub mod status;
pub mod watch;

pub use directory::{Follower, follow};
pub use status::{DirectoryState, InvalidFile, SourceReport, SourceStatus};
pub use watch::{FileWatch, WatchError, watch_file};
