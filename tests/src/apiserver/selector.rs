//! Which objects a client asks for: label and field selectors.

use serde_json::Value;

use super::status::Refusal;

/// What objects must be like.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug)]
enum Term {
    Label { key: String, wants: Wants },
    Field { path: Vec<String>, wants: Wants },
}

#[derive(Clone, Debug)]
enum Wants {
    Exists,
    Absent,
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads the two selectors of a query; empty ones select everything.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let mut terms = Vec::new();
        for term in split(labels) {
            terms.push(label(term)?);
        }
        for term in split(fields) {
            let (key, wants) = equality(term).ok_or_else(|| {
                Refusal::new(400, format!("invalid selector: '{term}'; can't understand it"))
            })?;
            terms.push(Term::Field { path: key.split('.').map(Into::into).collect(), wants });
        }
        Ok(Self { terms })
    }

    /// The object is one of those.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Label { key, wants } => wants.hold(object["metadata"]["labels"][key.as_str()].as_str()),
            Term::Field { path, wants } => {
                let found = path.iter().fold(object, |object, step| &object[step.as_str()]);
                // A field that is not there is the empty text, to a field selector.
                wants.hold(Some(found.as_str().unwrap_or_default()))
            }
        })
    }
}

impl Wants {
    fn hold(&self, found: Option<&str>) -> bool {
        let is_in = |all: &[String]| found.is_some_and(|found| all.iter().any(|one| one == found));
        match self {
            Self::Exists => found.is_some(),
            Self::Absent => found.is_none(),
            Self::Equal(value) => found == Some(value),
            Self::NotEqual(value) => found != Some(value),
            Self::In(all) => is_in(all),
            Self::NotIn(all) => !is_in(all),
        }
    }
}

/// The terms between commas that are not in parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut terms, mut depth, mut began) = (Vec::new(), 0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(text[began..at].trim());
                began = at + 1;
            }
            _ => {}
        }
    }
    terms.push(text[began..].trim());
    terms.retain(|term| !term.is_empty());
    terms
}

fn equality(term: &str) -> Option<(String, Wants)> {
    let pair = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
    if let Some(parts) = term.split_once("!=") {
        let (key, value) = pair(parts);
        return Some((key, Wants::NotEqual(value)));
    }
    let parts = term.split_once("==").or_else(|| term.split_once('='))?;
    let (key, value) = pair(parts);
    Some((key, Wants::Equal(value)))
}

fn label(term: &str) -> Result<Term, Refusal> {
    if let Some((key, wants)) = equality(term) {
        return Ok(Term::Label { key, wants });
    }
    let set = |rest: &str| {
        let inner = rest.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    let parsed = if let Some((key, rest)) = term.split_once(" notin ") {
        set(rest).map(|all| (key, Wants::NotIn(all)))
    } else if let Some((key, rest)) = term.split_once(" in ") {
        set(rest).map(|all| (key, Wants::In(all)))
    } else if let Some(key) = term.strip_prefix('!') {
        Some((key, Wants::Absent))
    } else {
        Some((term, Wants::Exists)).filter(|(key, _)| !key.contains([' ', '(', ')']))
    };
    let (key, wants) =
        parsed.ok_or_else(|| Refusal::new(400, format!("unable to parse requirement: '{term}'")))?;
    Ok(Term::Label { key: key.trim().to_owned(), wants })
}
