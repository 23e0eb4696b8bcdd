//! What is measured once for each proxy, as a table for people: figures down, proxies across.

use std::fmt;

use crate::peers::Proxy;

/// The width of the figures' names, and of each column.
const NAME: usize = 48;
const COLUMN: usize = 23;

/// A figure of an outcome as text.
pub(crate) type Figure<O> = fn(&O) -> String;

/// What one proxy did.
pub(crate) trait Outcome: Sized + 'static {
    /// Every figure, in the order of the table; those that begin with spaces are parts of the one above.
    const FIGURES: &'static [(&'static str, Figure<Self>)];

    fn proxy(&self) -> Proxy;

    /// What was done, the same for all proxies of a table.
    fn title(&self) -> String;

    /// What went wrong with flows, the first few, in words.
    fn words(&self) -> &[String];

    /// What makes the figures useless.
    fn faults(&self) -> &[String];

    /// Whether the figures may be used.
    fn is_valid(&self) -> bool {
        self.faults().is_empty()
    }
}

/// Those that were measured in the same way, as a table each.
pub(crate) fn tables<O: Outcome>(outcomes: &[O]) -> impl Iterator<Item = Table<'_, O>> {
    outcomes.chunk_by(|a, b| a.title() == b.title()).map(Table)
}

/// Prints outcomes beside each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a, O>(pub(crate) &'a [O]);

impl<O: Outcome> fmt::Display for Table<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        writeln!(f, "{}", first.title())?;
        self.row(f, "figure", |outcome| outcome.proxy().to_string())?;
        for (name, figure) in O::FIGURES {
            self.row(f, name, figure)?;
        }
        for outcome in self.0 {
            for words in outcome.words() {
                writeln!(f, "  {}: {words}", outcome.proxy())?;
            }
            for fault in outcome.faults() {
                writeln!(f, "  {} INVALID: {fault}", outcome.proxy())?;
            }
        }
        Ok(())
    }
}

impl<O: Outcome> Table<'_, O> {
    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, figure: impl Fn(&O) -> String) -> fmt::Result {
        write!(f, "  {name:<NAME$}")?;
        for outcome in self.0 {
            write!(f, "{:>COLUMN$}", figure(outcome))?;
        }
        writeln!(f)
    }
}
