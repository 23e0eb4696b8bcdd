//! Columns, and what does not fit one in lines of its own.

/// How wide lines are beside the columns; most terminals are one wider, or more.
const WIDTH: usize = 79;
/// Before lines after the first.
const INDENT: &str = "  ";

/// A row of a table with what is said of it beside its columns; nothing where it is empty.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// In the lines before it.
    pub(super) above: String,
    pub(super) cells: Vec<String>,
    /// In the lines after it, which are indented.
    pub(super) below: String,
}

/// Columns as wide as their widest cell, two spaces between, nothing after the last.
pub(super) fn table(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    noted(header, rows.map(|cells| Row { cells, ..Row::default() }))
}

/// The same with lines before and after rows, which are broken where they are too long for most terminals.
pub(super) fn noted(header: &[&str], rows: impl Iterator<Item = Row>) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let header = Row { cells: header, ..Row::default() };
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let columns = rows.iter().map(|row| row.cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut lines = Vec::new();
    for Row { above, cells, below } in &rows {
        if !above.is_empty() {
            lines.extend(wrap(above, WIDTH, INDENT));
        }
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        lines.push(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned());
        if !below.is_empty() {
            let below = wrap(below, WIDTH - INDENT.len(), "");
            lines.extend(below.iter().map(|line| format!("{INDENT}{line}")));
        }
    }
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

/// Breaks a line between words, and words that are longer; lines after the first begin with `indent`.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        let mut word: Vec<char> = word.chars().collect();
        // A space at a line's end takes no room.
        let needed = word.iter().collect::<String>().trim_end().chars().count();
        if used + needed > width && used > indent.len() {
            lines.push(indent.to_owned());
            used = indent.len();
        }
        while used + word.iter().collect::<String>().trim_end().chars().count() > width {
            let rest = word.split_off(width - used);
            lines.last_mut().into_iter().for_each(|line| line.extend(&word));
            lines.push(indent.to_owned());
            (word, used) = (rest, indent.len());
        }
        used += word.len();
        lines.last_mut().into_iter().for_each(|line| line.extend(&word));
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests;
