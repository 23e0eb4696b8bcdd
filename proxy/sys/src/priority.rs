//! Who waits for whom on a busy processor.

use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::gettid,
};

/// How far a thread steps back. Enough that a worker with something to do is chosen three times as often (nice(2)).
const STEP_BACK: i32 = 5;

/// Lets other threads come first: for those that keep tables, so that a burst of news delays no byte. It is no
/// promise: where the kernel refuses, everything goes on as before.
pub fn yield_to_others() {
    let thread = Some(gettid());
    if let Ok(now) = getpriority_process(thread) {
        let _ = setpriority_process(thread, now + STEP_BACK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_steps_back() {
        let nice = || getpriority_process(Some(gettid())).expect("a priority");
        let before = nice();
        let there = std::thread::spawn(move || {
            yield_to_others();
            nice()
        });
        assert_eq!(there.join().expect("a thread"), before + STEP_BACK);
        assert_eq!(nice(), before);
    }
}
