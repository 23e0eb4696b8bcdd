//! What is done under callgrind: each operation so many times, and then twice as many times, so that what comes
//! before and after it cancels out.

use anyhow::bail;
use tidegate_core::Event;
use tidegate_instructions::{
    picks::{PickBy, Picks},
    relay::Relay,
    updates::{FULL_SLICE, Size, Updates},
};

use crate::callgrind::{self, begin_part};

/// The argument with which this program does operations instead of counting them.
pub(crate) const COMMAND: &str = "do";

/// Sizes of a service: a pick costs the same for all of them.
const FEW: u32 = 10;
const MANY: u32 = 10_000;

const PICKS: u64 = 2000;
const CHANGES: u64 = 10;
const TRIPS: u64 = 500;
const CONNECTIONS: u64 = 100;

/// An operation of the core and its name.
type Named = (String, Operation);

/// An operation of the core.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Pick(PickBy, u32),
    Update(Size),
}

/// All operations of the core, in the order in which they are done.
fn of_the_core() -> Vec<Named> {
    let picks = PickBy::ALL.into_iter().flat_map(|by| {
        [FEW, MANY]
            .map(|endpoints| (format!("pick/{}/{endpoints}", by.name()), Operation::Pick(by, endpoints)))
    });
    let update = |services, slices, endpoints| Operation::Update(Size { services, slices, endpoints });
    let updates = [
        // What a change costs where nothing else is there, and how it grows with services, slices and endpoints.
        ("update/1-service".to_owned(), update(1, 1, 10)),
        ("update/1000-services".to_owned(), update(1000, 1, 10)),
        ("update/full-slice".to_owned(), update(1, 1, FULL_SLICE)),
        ("update/10-full-slices".to_owned(), update(1, 10, FULL_SLICE)),
    ];
    picks.chain(updates).collect()
}

/// Counts all operations of the core, in one run. Each has three parts: its world is made, it is done, and it is done
/// twice as often; the last part is the end of the program.
pub(crate) fn count_core() -> anyhow::Result<Vec<(String, u64)>> {
    let operations = of_the_core();
    let parts = callgrind::parts("core", 1)?;
    if parts.len() != 3 * operations.len() + 1 {
        bail!("callgrind saw {} parts of {} operations", parts.len(), operations.len());
    }
    let counted = operations.into_iter().zip(parts.chunks(3));
    Ok(counted
        .map(|((name, operation), parts)| (name, parts[2].saturating_sub(parts[1]) / operation.times()))
        .collect())
}

/// Counts what the worker does for a round trip and for a connection.
pub(crate) fn count_relay() -> anyhow::Result<Vec<(String, u64)>> {
    let each = |what: &str, times: u64| {
        let (once, twice) =
            (callgrind::second_thread(what, times)?, callgrind::second_thread(what, 2 * times)?);
        anyhow::Ok((what.to_owned(), twice.saturating_sub(once) / times))
    };
    Ok(vec![each("round-trip", TRIPS)?, each("connection", CONNECTIONS)?])
}

/// Does operations; this is what runs under callgrind.
///
/// # Errors
///
/// When there is no such operation, or a flow breaks.
pub(crate) fn run(what: &str, count: &str) -> anyhow::Result<()> {
    let count = crate::number(count)?;
    match what {
        "core" => of_the_core().into_iter().for_each(|(_, operation)| operation.run()),
        "round-trip" => {
            let relay = Relay::start()?;
            let mut ends = relay.open()?;
            (0..count).try_for_each(|_| ends.trip())?;
            relay.close(ends)?;
        }
        "connection" => {
            let relay = Relay::start()?;
            for _ in 0..count {
                let mut ends = relay.open()?;
                ends.trip()?;
                relay.close(ends)?;
            }
        }
        _ => bail!("there is no operation `{what}`"),
    }
    Ok(())
}

impl Operation {
    fn times(self) -> u64 {
        match self {
            Self::Pick(..) => PICKS,
            Self::Update(_) => CHANGES,
        }
    }

    fn run(self) {
        match self {
            Self::Pick(by, endpoints) => {
                let mut picks = Picks::new(by, endpoints);
                for times in [PICKS, 2 * PICKS] {
                    begin_part(0);
                    (0..times).for_each(|_| picks.decide());
                }
                begin_part(0);
            }
            Self::Update(size) => {
                let mut updates = Updates::new(size);
                let mut events = |times| (0..times).map(|_| updates.next_event()).collect();
                let runs: [Vec<Event>; 2] = [CHANGES, 2 * CHANGES].map(&mut events);
                for events in runs {
                    begin_part(0);
                    for event in events {
                        updates.apply(event);
                    }
                }
                begin_part(0);
            }
        }
    }
}
