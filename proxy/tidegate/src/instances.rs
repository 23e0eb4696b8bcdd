//! `--all`: the same question to this instance alone, or to it and all others that it knows.
//!
//! Both come as a list of answers, so that whoever asks treats one instance like many.

use std::{fmt::Write as _, process::ExitCode};

use serde::{Serialize, de::DeserializeOwned};
use tidegate_admin::{All, InstanceAnswer};

use crate::{
    cli::Output,
    client::AdminClient,
    commands::{show, with_query},
};

/// What all instances are asked, where one is asked for this path.
pub(crate) fn path_of(all: bool, path: &str, query: &[(&str, Option<&str>)]) -> String {
    let path = if all { path.replacen("/v1/", "/v1/all/", 1) } else { path.to_owned() };
    with_query(&path, query)
}

/// GET of one instance or of all.
pub(crate) fn get<T: DeserializeOwned>(
    client: &AdminClient,
    all: bool,
    path: &str,
    query: &[(&str, Option<&str>)],
) -> anyhow::Result<All<T>> {
    let path = path_of(all, path, query);
    if all { client.get(&path) } else { Ok(alone(client.get(&path)?)) }
}

/// What one instance answered, or all did.
pub(crate) fn read<T: DeserializeOwned>(all: bool, bytes: &[u8]) -> serde_json::Result<All<T>> {
    if all { serde_json::from_slice(bytes) } else { serde_json::from_slice(bytes).map(alone) }
}

/// One instance's answer. It needs no name where it is the only one.
pub(crate) fn alone<T>(answer: T) -> All<T> {
    All { instances: vec![InstanceAnswer { instance: String::new(), answer: Some(answer), error: None }] }
}

/// A name that precedes what an instance said; nothing where it is the only one.
pub(crate) fn prefix(instance: &str) -> String {
    if instance.is_empty() { String::new() } else { format!("{instance}: ") }
}

/// Why an instance has no answer.
pub(crate) fn error_of<T>(it: &InstanceAnswer<T>) -> &str {
    it.error.as_deref().unwrap_or("no answer")
}

/// The answers as text, each under its instance's name.
pub(crate) fn text<T>(answers: &All<T>, table: impl Fn(&str, &T) -> String) -> String {
    let mut text = String::new();
    for it in &answers.instances {
        // Writing to a String cannot fail.
        let _ = match &it.answer {
            Some(answer) if it.instance.is_empty() => write!(text, "{}", table("", answer)),
            Some(answer) => write!(text, "{}:\n{}", it.instance, table(&it.instance, answer)),
            None => writeln!(text, "{}: {}", it.instance, error_of(it)),
        };
    }
    text
}

/// Prints the answers.
pub(crate) fn print<T: Serialize>(
    output: Output,
    all: bool,
    answers: &All<T>,
    table: impl Fn(&T) -> String,
) -> anyhow::Result<ExitCode> {
    print_each(output, all, answers, |_, answer| table(answer))
}

/// Prints the answers; `table` takes the instance's name, too. With JSON one instance's alone is printed as it is.
pub(crate) fn print_each<T: Serialize>(
    output: Output,
    all: bool,
    answers: &All<T>,
    table: impl Fn(&str, &T) -> String,
) -> anyhow::Result<ExitCode> {
    match answers.instances.first().and_then(|it| it.answer.as_ref()) {
        Some(answer) if !all => show(output, answer, |answer| table("", answer)),
        _ => show(output, answers, |answers| text(answers, &table)),
    }?;
    Ok(status(answers))
}

/// The exit status: 1 where an instance has no answer.
pub(crate) fn status<T>(answers: &All<T>) -> ExitCode {
    let is_whole = answers.instances.iter().all(|it| it.answer.is_some());
    if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_path_is_asked_of_one_and_of_all() {
        let query = [("service", Some("a/b")), ("since_ms", None)];
        assert_eq!(path_of(false, "/v1/audit", &query), "/v1/audit?service=a%2Fb");
        assert_eq!(path_of(true, "/v1/audit", &query), "/v1/all/audit?service=a%2Fb");
    }

    #[test]
    fn answers_stand_under_their_instance_unless_there_is_one_alone() {
        let row = |instance: &str, answer, error: Option<&str>| InstanceAnswer {
            instance: instance.to_owned(),
            answer,
            error: error.map(str::to_owned),
        };
        let table = |_: &str, number: &u64| format!("{number}\n");
        assert_eq!(text(&alone(7), table), "7\n");
        let both =
            All { instances: vec![row("this", Some(7), None), row("10.0.0.2:9903", None, Some("late"))] };
        assert_eq!(text(&both, table), "this:\n7\n10.0.0.2:9903: late\n");
    }
}
