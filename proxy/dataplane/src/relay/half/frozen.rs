//! Taking a half apart, and putting it together again in another worker or another process.

use std::io;

use tidegate_sys::{FrozenHalf, FrozenPipe, Pipe};

use super::{Half, HalfState, Held, Tools};

impl Half {
    /// Its source's or its memory's failure is known only here.
    pub(crate) fn has_failed(&self) -> bool {
        self.source_failed || matches!(self.state, HalfState::SourceBroken | HalfState::Starved)
    }

    /// Takes the half apart.
    pub(crate) fn freeze(self, tools: &Tools) -> FrozenHalf {
        let (pipe, pending) = match self.held {
            Held::Nothing => (None, Vec::new()),
            Held::Bytes { bytes, written } => (None, bytes[written..].to_vec()),
            Held::Pipe(pipe) => (Some(pipe), Vec::new()),
            Held::PipeAndBytes(both) => (Some(both.0), both.1.into_vec()),
        };
        let pipe = pipe.map(|pipe| {
            tools.pipes.release();
            let (reader, writer, length) = pipe.into_parts();
            FrozenPipe { reader, writer, length }
        });
        FrozenHalf {
            pending,
            pipe,
            source_ended: self.source_ended,
            sink_ended: self.fin_passed,
            bytes: self.bytes,
        }
    }

    /// Puts a half together again. The sink may have Nagle's algorithm on.
    pub(crate) fn adopt(frozen: FrozenHalf, tools: &Tools, nagle: bool) -> io::Result<Self> {
        let FrozenHalf { pending, pipe, source_ended, sink_ended, bytes } = frozen;
        let pipe = match pipe {
            Some(FrozenPipe { reader, writer, length }) => {
                let pipe = Pipe::from_parts(reader, writer, length)?;
                tools.pipes.adopt();
                Some(Box::new(pipe))
            }
            None => None,
        };
        let held = match (pipe, pending.is_empty()) {
            (None, true) => Held::Nothing,
            (None, false) => Held::Bytes { bytes: pending.into(), written: 0 },
            (Some(pipe), true) => Held::Pipe(pipe),
            (Some(pipe), false) => Held::PipeAndBytes(Box::new((pipe, pending.into()))),
        };
        Ok(Self { bytes, nagle, fin_passed: sink_ended, source_ended, held, ..Self::default() })
    }
}
