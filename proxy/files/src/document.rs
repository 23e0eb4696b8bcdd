//! From the text of a slice file to its slices: YAML of one or many documents, or JSON, with or without lists.

use serde_json::Value;
use serde_saphyr::{alias_limits, budget, options};
use tidegate_core::Slice;

use crate::slice::{InvalidSlice, from_json};

/// A larger file is refused unread. A slice of 1000 endpoints has about 400 KiB.
pub const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    /// Its slices in the order of the file.
    pub slices: Vec<Slice>,
    /// Objects of other kinds, which are ignored.
    pub ignored_objects: u32,
}

/// Why a file is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    /// Not UTF-8.
    #[error("is not UTF-8 at byte {0}: save it as UTF-8")]
    Encoding(usize),
    /// Too large.
    #[error("is larger than {MAX_FILE_BYTES} bytes: split it into several files")]
    TooLarge,
    /// Neither YAML nor JSON.
    #[error("is not YAML or JSON: {0}")]
    Syntax(String),
    /// No document that says anything.
    #[error(
        "holds no document: to say that there are no endpoints, write `endpoints: []` or remove the file"
    )]
    Empty,
    /// Documents, but none that speaks of slices.
    #[error("holds no EndpointSlice, only other kinds of objects: move it elsewhere")]
    NoSlice,
    /// A document is not what it should be.
    #[error("document {number}: {reason}")]
    Document {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A document or an item of a list is not a slice.
    #[error("document {number}{item}: {source}", item = item.map(|item| format!(", item {item}")).unwrap_or_default())]
    Slice {
        /// Which document, from 1.
        number: usize,
        /// Which item of its list, from 1.
        item: Option<usize>,
        /// What is wrong with it.
        source: InvalidSlice,
    },
}

/// The slices of a file. One wrong document makes the whole file invalid: half a file is no state to act upon.
///
/// # Errors
///
/// [`InvalidFile`] with what is wrong first.
pub fn read(bytes: &[u8]) -> Result<FileContent, InvalidFile> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(InvalidFile::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| InvalidFile::Encoding(error.valid_up_to()))?;
    let documents = documents(text)?;
    let mut content = FileContent::default();
    let mut seen_slices = false;
    let mut seen_any = false;
    for (index, document) in documents.iter().enumerate() {
        if document.is_null() {
            continue;
        }
        seen_any = true;
        seen_slices |= read_document(document, index + 1, &mut content)?;
    }
    match (seen_any, seen_slices) {
        (false, _) => Err(InvalidFile::Empty),
        (true, false) => Err(InvalidFile::NoSlice),
        (true, true) => Ok(content),
    }
}

/// The body of a fuzz target: whatever the bytes are, there is an answer.
pub fn fuzz_read(bytes: &[u8]) {
    match read(bytes) {
        Ok(content) => {
            for slice in content.slices {
                assert!(!slice.name.name.is_empty(), "a slice has a name");
                assert!(slice.ports.iter().all(|port| port.number > 0), "a port has a number");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    }
}

/// JSON is YAML, but its own reader is many times as fast, and the large files are JSON.
fn documents(text: &str) -> Result<Vec<Value>, InvalidFile> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(vec![value]);
    }
    let options = options! {
        budget: budget! {
            max_depth: 64,
            max_documents: 100_000,
            max_nodes: 5_000_000,
            max_events: 20_000_000,
        },
        alias_limits: alias_limits! { max_total_replayed_events: 200_000 },
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        // It ends with its place already.
        InvalidFile::Syntax(
            error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter),
        )
    })
}

/// Adds a document's slices; whether it speaks of slices.
fn read_document(document: &Value, number: usize, content: &mut FileContent) -> Result<bool, InvalidFile> {
    let wrong = |reason: String| InvalidFile::Document { number, reason };
    let field = |name: &str| {
        let value = document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        value.ok_or_else(|| {
            wrong(format!("`{name}` is missing: expected an EndpointSlice of discovery.k8s.io/v1"))
        })
    };
    let api_version = field("apiVersion")?;
    let kind = field("kind")?;
    match (api_version, kind) {
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            let slice =
                from_json(document).map_err(|source| InvalidFile::Slice { number, item: None, source })?;
            content.slices.push(slice);
        }
        ("v1", "List") | ("discovery.k8s.io/v1", "EndpointSliceList") => {
            let items = match document.get("items") {
                Some(Value::Array(items)) => items.as_slice(),
                Some(Value::Null) => &[],
                Some(_) => return Err(wrong("`items` is not a list".to_owned())),
                None => return Err(wrong("`items` is missing: an empty list is `items: []`".to_owned())),
            };
            for (index, item) in items.iter().enumerate() {
                read_item(item, number, index + 1, content)?;
            }
        }
        (group, _) if group.starts_with("discovery.k8s.io/") => {
            return Err(wrong(format!(
                "`{kind}` of {api_version} is not read: expected an EndpointSlice of discovery.k8s.io/v1"
            )));
        }
        _ => {
            content.ignored_objects += 1;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The items of a list from the API lack `kind` and `apiVersion`; those of `kubectl get` have them.
fn read_item(
    item: &Value,
    number: usize,
    index: usize,
    content: &mut FileContent,
) -> Result<(), InvalidFile> {
    let field = |name: &str| item.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let is_slice = field("kind").is_none_or(|kind| kind == "EndpointSlice")
        && field("apiVersion").is_none_or(|version| version == "discovery.k8s.io/v1");
    if is_slice {
        let wrong = |source| InvalidFile::Slice { number, item: Some(index), source };
        content.slices.push(from_json(item).map_err(wrong)?);
    } else {
        content.ignored_objects += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
