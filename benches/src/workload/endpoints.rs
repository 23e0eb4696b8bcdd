//! Many endpoints behind one listener: what a pick costs when there is much to pick from.

use super::{Behind, Layout, Part, connections};

const COUNTS: [usize; 3] = [10, 1000, 10_000];

pub(super) fn parts() -> Vec<Part> {
    let part = |count| {
        let layout = Layout { listeners: 1, endpoints: Behind::Many(count) };
        connections::part(layout, format!("connect, request and reply, close; {count} endpoints"))
    };
    COUNTS.map(part).to_vec()
}
