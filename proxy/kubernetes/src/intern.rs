//! Texts that many objects share (nodes, zones, namespaces, Services), kept once.

use std::{collections::HashSet, sync::Arc};

/// The texts in use. Those that nobody uses any more go when their number has doubled.
#[derive(Debug, Default)]
pub(crate) struct Intern {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Intern {
    pub(crate) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(1024) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let text: Arc<str> = text.into();
        self.known.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let mut intern = Intern::default();
        assert!(Arc::ptr_eq(&intern.get("node-1"), &intern.get("node-1")));
    }

    #[test]
    fn texts_that_nobody_uses_do_not_pile_up() {
        let mut intern = Intern::default();
        let kept = intern.get("kept");
        for number in 0..10_000 {
            intern.get(&number.to_string());
        }
        assert!(intern.known.len() <= 2048, "{}", intern.known.len());
        assert!(Arc::ptr_eq(&kept, &intern.get("kept")));
    }
}
