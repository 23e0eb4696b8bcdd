//! What is wrong with a file, said so that the reader can put it right.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::leaf::Place;

/// One thing that is wrong, or that deserves a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line, from 1; 0 where the file as a whole is meant.
    pub line: u64,
    /// The column, from 1; 0 where the file as a whole is meant.
    pub column: u64,
    /// The field, such as `listeners[0].address`; empty where there is none.
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(place: Place, field: impl Into<String>, message: impl Into<String>) -> Self {
        // A file may hold what would steer the terminal that shows the message.
        let message = message.into().chars().map(visible).collect();
        Self { line: place.line, column: place.column, field: field.into(), message }
    }

    /// The finding as a line that begins with its place: `file:line:column: field: message`.
    pub fn display<'a>(&'a self, origin: &'a Path) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            write!(f, "{}:", origin.display())?;
            if self.line > 0 {
                write!(f, "{}:{}:", self.line, self.column)?;
            }
            if !self.field.is_empty() {
                write!(f, " {}:", self.field)?;
            }
            write!(f, " {}", self.message)
        })
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is too large to be one.
    #[error(
        "{}: the file is larger than {limit} bytes, which no configuration needs; is it the right file?",
        path.display()
    )]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The content is wrong.
    #[error("{}", report(origin, text, findings))]
    Invalid {
        /// Where the text came from.
        origin: PathBuf,
        /// The text, to show the lines that are meant.
        text: String,
        /// All that is wrong, in the order of the text.
        findings: Vec<Finding>,
    },
}

impl LoadError {
    /// What is wrong with the content; empty where it could not even be read.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Self::Invalid { findings, .. } => findings,
            Self::Read { .. } | Self::TooLarge { .. } => &[],
        }
    }
}

/// At most so many findings are shown, and so much of a line.
const SHOWN: usize = 20;
const SHOWN_COLUMNS: usize = 120;

/// Each finding with the line that it speaks of.
fn report(origin: &Path, text: &str, findings: &[Finding]) -> String {
    use fmt::Write as _;

    let mut report = String::new();
    for (index, finding) in findings.iter().take(SHOWN).enumerate() {
        if index > 0 {
            report.push('\n');
        }
        let _ = write!(report, "{}", finding.display(origin));
        let line = usize::try_from(finding.line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
        if let Some(line) = line {
            let shown: String = line.chars().take(SHOWN_COLUMNS).map(visible).collect();
            let number = finding.line;
            let margin = number.to_string().len();
            let column = usize::try_from(finding.column).unwrap_or(1).max(1) - 1;
            let _ = write!(report, "\n {number} | {shown}");
            if column < SHOWN_COLUMNS {
                let _ = write!(report, "\n {:margin$} | {:column$}^", "", "");
            }
        }
    }
    if findings.len() > SHOWN {
        let _ = write!(report, "\nand {} more", findings.len() - SHOWN);
    }
    report
}

fn visible(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}
