//! What the whole machine has used: processor time, and the kernel's memory.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Processor time of all processors that was not idle: user, nice, system, irq and softirq of `/proc/stat`. Not time
/// that the hypervisor took (steal), which nobody here has used.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    let text = read("/proc/stat")?;
    busy_ticks(&text).map(super::ticks).context("/proc/stat has no line for all processors")
}

/// The kernel's memory in bytes that flows cost: slabs (sockets, files, inodes, epoll items), page tables and kernel
/// stacks, from `/proc/meminfo`.
pub(crate) fn kernel_memory() -> anyhow::Result<u64> {
    let text = read("/proc/meminfo")?;
    let kib: Option<u64> =
        ["Slab:", "PageTables:", "KernelStack:"].iter().map(|name| field(&text, name)).sum();
    kib.map(|kib| kib * 1024).context("/proc/meminfo lacks a line")
}

/// Bytes in TCP's socket buffers, from `/proc/net/sockstat`.
pub(crate) fn socket_buffers() -> anyhow::Result<u64> {
    let text = read("/proc/net/sockstat")?;
    let pages = buffer_pages(&text).context("/proc/net/sockstat has no memory of TCP")?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, ...; a guest's time is in user already.
    [0, 1, 2, 5, 6].iter().map(|at| ticks.get(*at)).sum()
}

fn buffer_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut fields = line.split_whitespace();
    fields.find(|field| *field == "mem")?;
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "cpu  1 2 4 1000 1000 8 16 1000 1000 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy_ticks(stat), Some(31));
        assert_eq!(field("MemTotal: 7 kB\nSlab:   5 kB\n", "Slab:"), Some(5));
        let sockstat = "sockets: used 18\nTCP: inuse 1 orphan 0 tw 9 alloc 1 mem 31\nUDP: inuse 0 mem 2\n";
        assert_eq!(buffer_pages(sockstat), Some(31));
    }

    #[test]
    fn this_machine_has_them_all() {
        assert!(cpu().unwrap() > Duration::ZERO);
        assert!(kernel_memory().unwrap() > 0);
        socket_buffers().unwrap();
    }
}
