//! The `tidegate` command; all of it is in the library, so that tests and benchmarks run the same code.

use std::process::ExitCode;

/// A flow's few allocations are aligned to cache lines by the runtime. The system's allocator pays for that with time
/// and with padding; this one with neither.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate::main()
}
