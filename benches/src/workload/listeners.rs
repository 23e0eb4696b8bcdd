//! Many listeners before a few endpoints; clients go to them in turn.

use super::{Behind, Layout, Part, connections};
use crate::endpoints::Kind;

const COUNT: usize = 1000;

pub(super) fn parts() -> Vec<Part> {
    let layout = Layout { listeners: COUNT, endpoints: Behind::Few(Kind::Echo) };
    vec![connections::part(layout, format!("connect, request and reply, close; {COUNT} listeners"))]
}
