//! The `tidegate` command; all of it is in the library, so that tests and benchmarks run the same code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::main()
}
