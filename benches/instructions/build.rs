//! Tells the program which compiler built it: counts are comparable for one compiler only.

use std::{env, process::Command};

fn main() {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("-V").output().map(|output| output.stdout).unwrap_or_default();
    println!("cargo::rustc-env=COMPILER={}", String::from_utf8_lossy(&version).trim());
    println!("cargo::rustc-env=TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}
