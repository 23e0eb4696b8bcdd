//! From the chunks of a watch's body to its lines, one object each, none of them larger than a limit.

/// Lines cut out of chunks.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    limit: usize,
    /// The line under way is over the limit and is thrown away to its end.
    skipping: bool,
}

/// What a chunk had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A complete line, without its end.
    Complete(Vec<u8>),
    /// A line over the limit, which is left out.
    TooLong,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), limit, skipping: false }
    }

    /// Takes a chunk in and gives the lines that end in it. What has no end yet is kept; a body that is cut there has
    /// cut an object, which is never used.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut parts = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if !self.skipping {
                self.buffer.extend_from_slice(part);
                if self.buffer.len() > self.limit {
                    self.buffer = Vec::new();
                    self.skipping = true;
                }
            }
            if parts.peek().is_some() {
                if std::mem::take(&mut self.skipping) {
                    lines.push(Line::TooLong);
                } else if !self.buffer.iter().all(u8::is_ascii_whitespace) {
                    lines.push(Line::Complete(std::mem::take(&mut self.buffer)));
                }
                self.buffer.clear();
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(text: &str) -> Line {
        Line::Complete(text.into())
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\ntwo\r\n\nthree\nrest";
        let whole = Lines::new(100).feed(text);
        assert_eq!(whole, [complete("one"), complete("two\r"), complete("three")]);
        for size in 1..text.len() {
            let mut lines = Lines::new(100);
            let cut: Vec<_> = text.chunks(size).flat_map(|chunk| lines.feed(chunk)).collect();
            assert_eq!(cut, whole, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_over_the_limit_is_left_out_and_the_next_one_is_read() {
        let text = [b"x".repeat(1000).as_slice(), b"\nnext\n"].concat();
        for size in [1, 7, 64, 2000] {
            let mut lines = Lines::new(64);
            let mut most = 0;
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                found.extend(lines.feed(chunk));
                most = most.max(lines.buffer.len());
            }
            assert_eq!(found, [Line::TooLong, complete("next")], "chunks of {size}");
            assert!(most <= 64, "no more than the limit is kept: {most}");
        }
    }
}
