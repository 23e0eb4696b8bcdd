//! What documents speak of exists: files, headings, commands, metrics.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{expect_none, files, read, root, words};

/// Every document with its text.
fn documents() -> Vec<(PathBuf, String)> {
    files(".md").into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The anchor of a heading, as the usual renderers make it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The text outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The lines of fenced code.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        is_code && !is_fence
    })
}

/// What stands between backticks in prose.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn links_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in documents() {
        for line in prose(&text) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                if target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let (file, heading) = target.split_once('#').unwrap_or((target, ""));
                let file = match file {
                    "" => path.clone(),
                    file => path.parent().unwrap_or(Path::new("")).join(file),
                };
                let is_there = root().join(&file).exists();
                let has_heading = || {
                    let text = read(&file);
                    prose(&text).filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading)
                };
                if !is_there || (!heading.is_empty() && !has_heading()) {
                    faults.push(format!("{}: {target}", path.display()));
                }
            }
        }
    }
    expect_none(
        &faults,
        "These links lead nowhere: the file or the heading has another name. Mend the link.",
    );
}

#[test]
fn paths_in_documents_exist() {
    const FOLDERS: [&str; 5] = ["proxy/", "config/", "deploy/", "benches/", "tests/"];
    let mut faults = Vec::new();
    for (path, text) in documents() {
        for word in quoted(&text).flat_map(str::split_whitespace) {
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder));
            // A pattern, or a name that the reader is to choose.
            let is_pattern = word.contains(['*', '<', '{']) || word.chars().any(|c| c.is_ascii_uppercase());
            let below = path.parent().unwrap_or(Path::new("")).join(word);
            if is_path && !is_pattern && !root().join(word).exists() && !root().join(below).exists() {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    expect_none(&faults, "These paths do not exist: say where the thing is now, or leave the path out.");
}

/// The command line as the program has it: commands and flags.
fn command_line() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = read("proxy/tidegate/src/cli.rs");
    let body =
        text.split("enum Command {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let variants =
        body.lines().map(str::trim).filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    let commands =
        variants.filter_map(|line| words(line, char::is_alphanumeric).next().map(str::to_lowercase));
    let fields = text.lines().filter_map(|line| line.trim().strip_prefix("pub(crate) ")?.split_once(':'));
    let flags = fields.map(|(name, _)| name.replace('_', "-"));
    (commands.collect(), flags.chain(["help".to_owned(), "version".to_owned()]).collect())
}

#[test]
fn commands_in_documents_exist() {
    let (commands, flags) = command_line();
    assert!(commands.contains("run") && flags.contains("config"), "cli.rs has another form: {commands:?}");
    let mut faults = Vec::new();
    let mut shown = BTreeSet::new();
    for (path, text) in documents() {
        for line in code(&text).chain(quoted(&text)) {
            let line = line.trim().trim_start_matches("$ ");
            let ours = ["cargo run --release -- ", "cargo run -- ", "tidegate "];
            let Some(rest) = ours.iter().find_map(|start| line.strip_prefix(start)) else { continue };
            // What follows a comment sign is for the reader, and output has columns.
            let rest = rest.split(" #").next().unwrap_or_default();
            let mut given = rest.split_whitespace();
            let command = given.next().unwrap_or_default();
            if command.starts_with('-') || !command.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            if commands.contains(command) {
                shown.insert(command.to_owned());
            } else {
                faults.push(format!("{}: there is no command `{command}`: {line}", path.display()));
            }
            let unknown = given
                .filter_map(|word| word.strip_prefix("--"))
                .map(|flag| flag.split('=').next().unwrap_or_default())
                .filter(|flag| !flag.is_empty() && !flags.contains(*flag));
            faults
                .extend(unknown.map(|flag| format!("{}: there is no flag --{flag}: {line}", path.display())));
        }
    }
    faults
        .extend(commands.difference(&shown).map(|command| format!("no document shows `tidegate {command}`")));
    expect_none(
        &faults,
        "Documents and proxy/tidegate/src/cli.rs disagree. Show the command as it is; README.md has the list.",
    );
}

#[test]
fn the_readme_names_the_one_test_command() {
    let text = read("README.md");
    let tests: Vec<_> = text.lines().filter(|line| line.starts_with("cargo test")).collect();
    assert_eq!(
        tests,
        ["cargo test --workspace"],
        "\n\nREADME.md names the test command once, alone on its line: .ci/run takes it from there.\n"
    );
}

#[test]
fn metrics_in_documents_exist() {
    let names = read("proxy/admin/src/metrics/names.rs");
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let known: BTreeSet<_> = words(&names, is_part).filter(|word| word.starts_with("tidegate_")).collect();
    assert!(known.contains("tidegate_flows_open"), "names.rs has another form: {known:?}");
    let mut faults = Vec::new();
    let texts = [".md", ".yaml", ".json"].into_iter().flat_map(files);
    for path in texts.filter(|path| !path.starts_with("tests/fixtures")) {
        let text = read(&path);
        for word in words(&text, is_part).filter(|word| word.starts_with("tidegate_")) {
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            // Crates are called so in code.
            let is_crate = root().join("proxy").join(&word["tidegate_".len()..]).is_dir();
            let is_crate =
                is_crate || ["tidegate_config", "tidegate_tests", "tidegate_benches"].contains(&word);
            if !known.contains(word) && !known.contains(base) && !is_crate {
                faults.push(format!("{}: {word}", path.display()));
            }
        }
    }
    expect_none(
        &faults,
        "There are no such metrics: proxy/admin/METRICS.md has the list of those there are.",
    );
}
