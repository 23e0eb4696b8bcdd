//! From a file or a text to a checked configuration.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_saphyr::{Error, Options, budget, options};

use crate::{
    configuration::Configuration,
    document::Document,
    error::{Finding, LoadError},
    leaf::Place,
    validate::validate,
    words::one_of,
};

/// A larger file is refused unread: no configuration needs it.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// A configuration and what was found on the way.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub configuration: Configuration,
    /// What is allowed but deserves a look.
    pub warnings: Vec<Finding>,
    /// Where the text came from.
    pub origin: PathBuf,
}

/// Reads and checks a configuration file; YAML, of which JSON is a part.
///
/// # Errors
///
/// [`LoadError`] with everything that is wrong.
pub fn load(path: impl AsRef<Path>) -> Result<Loaded, LoadError> {
    let path = path.as_ref();
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte more than is allowed tells "too large" from "just fits", whatever the file's size claims.
    File::open(path).map_err(read)?.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
            Err(LoadError::Invalid {
                origin: path.to_owned(),
                text: String::new(),
                findings: vec![Finding::new(
                    Place { line, column: 1 },
                    "",
                    "the line is not UTF-8: save the file as UTF-8",
                )],
            })
        }
    }
}

/// Checks a text. Relative paths in it are relative to the directory of `origin`, which errors name too.
///
/// # Errors
///
/// [`LoadError`] with everything that is wrong.
pub fn parse(text: &str, origin: impl AsRef<Path>) -> Result<Loaded, LoadError> {
    let origin = origin.as_ref();
    if text.len() > MAX_FILE_BYTES {
        return Err(LoadError::TooLarge { path: origin.to_owned(), limit: MAX_FILE_BYTES });
    }
    let invalid = |mut findings: Vec<Finding>| {
        findings.sort_by_key(|finding| (finding.line, finding.column));
        LoadError::Invalid { origin: origin.to_owned(), text: text.to_owned(), findings }
    };
    if text.trim().is_empty() {
        let message = "the file is empty: expected a ProxyConfiguration";
        return Err(invalid(vec![Finding::new(Place::default(), "", message)]));
    }
    let document: Document = serde_saphyr::from_str_with_options(text, yaml_options())
        .map_err(|error| invalid(vec![shape_finding(&error)]))?;
    let directory = origin.parent().unwrap_or(Path::new(""));
    let (configuration, warnings) = validate(&document, directory).map_err(invalid)?;
    Ok(Loaded { configuration, warnings, origin: origin.to_owned() })
}

/// The body of a fuzz target: whatever the bytes are, there is an answer, and what is accepted explains itself as
/// something that means the same.
pub fn fuzz_parse(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match parse(text, "/fuzz/tidegate.yaml") {
        Ok(loaded) => {
            let explained = loaded.configuration.explain();
            let again =
                parse(&explained, "/fuzz/tidegate.yaml").expect("an explained configuration is valid");
            assert_eq!(again.configuration, loaded.configuration, "explaining loses nothing");
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error says something"),
    }
}

/// YAML 1.2 without the surprises of 1.1 (`off` is a text), and limits that a configuration never meets.
fn yaml_options() -> Options {
    options! {
        budget: budget! {
            max_depth: 32,
            max_documents: 2,
            max_nodes: 500_000,
            max_events: 2_000_000,
            max_anchors: 1_000,
            max_aliases: 1_000,
        },
        strict_booleans: true,
        with_snippet: false,
    }
}

/// What the YAML reader says, in this crate's words where the reader's are meant for programmers.
fn shape_finding(error: &Error) -> Finding {
    let error = error.without_snippet();
    let place = error
        .location()
        .map(|location| Place { line: location.line(), column: location.column() })
        .unwrap_or_default();
    let message = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let words: Vec<_> = expected.iter().map(|word| format!("`{word}`")).collect();
            match nearest(field, expected) {
                Some(near) => {
                    format!("unknown field `{field}`, did you mean `{near}`? Expected {}", one_of(&words))
                }
                None => format!("unknown field `{field}`: expected {}", one_of(&words)),
            }
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("`{key}` is given twice: remove one of them")
        }
        Error::MultipleDocuments { .. } => {
            "a second document begins here: a configuration is one document, remove the `---`".to_owned()
        }
        Error::Budget { .. } => format!("the file is more than a configuration needs: {error}"),
        Error::Unexpected { expected: "sequence start", .. } => "expected a list (`- item`)".to_owned(),
        Error::Unexpected { expected: "mapping start", .. } => "expected a map (`field: value`)".to_owned(),
        Error::UnknownAnchor { .. } => "`*` refers to an anchor (`&`) that does not exist".to_owned(),
        other => other.render_with_formatter(&serde_saphyr::UserMessageFormatter),
    };
    // The place is said already, in front.
    let suffix = format!(" at line {}, column {}", place.line, place.column);
    Finding::new(place, "", message.strip_suffix(&suffix).unwrap_or(&message))
}

/// The allowed word that a misspelt one probably means.
fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    if word.len() > 40 {
        return None;
    }
    allowed
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
