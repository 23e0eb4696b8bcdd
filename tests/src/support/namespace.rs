//! Network namespaces, for what loopback cannot show: ports that run out, a host that is gone without a word.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::skipped;

/// A network namespace of the test's own, with loopback up. Removed when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// Two namespaces with a wire between them.
#[derive(Debug)]
pub struct Wire {
    /// Where the proxy and its clients are.
    pub near: Namespace,
    /// Where the endpoint is.
    pub far: Namespace,
    /// The endpoint's address.
    pub far_address: IpAddr,
}

impl Namespace {
    /// Makes one. Where that is not permitted the test cannot be made and says so; as root on a CI machine that is a
    /// failure, because there it has to be.
    pub fn make() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tgit{}-{number}", std::process::id());
        match Command::new("ip").args(["netns", "add", &name]).output() {
            Ok(output) if output.status.success() => {}
            outcome => {
                let is_root = rustix::process::geteuid().is_root();
                assert!(
                    !(is_root && std::env::var_os("CI").is_some()),
                    "root on a CI machine has to be able to make a network namespace: {outcome:?}"
                );
                skipped(&format!("a network namespace cannot be made here: {outcome:?}"));
                return None;
            }
        }
        let namespace = Self { name };
        namespace.ip("link set lo up");
        Some(namespace)
    }

    /// Runs `ip` in it.
    #[track_caller]
    pub fn ip(&self, arguments: &str) {
        let arguments = ["-n", &self.name].into_iter().chain(arguments.split(' '));
        let output = Command::new("ip").args(arguments.clone()).output().unwrap();
        assert!(output.status.success(), "ip {:?}: {output:?}", arguments.collect::<Vec<_>>());
    }

    /// Runs `work` on a thread inside; sockets it makes and processes it starts are inside too.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(path).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Sets a kernel parameter of the namespace, by its path below /proc/sys.
    pub fn set(&self, parameter: &str, value: &str) {
        self.enter(|| std::fs::write(Path::new("/proc/sys").join(parameter), value).unwrap());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

impl Wire {
    /// Two namespaces with a wire between them, where that is permitted.
    pub fn make() -> Option<Self> {
        let (near, far) = (Namespace::make()?, Namespace::make()?);
        near.ip(&format!("link add wire type veth peer name wire netns {}", far.name));
        for (namespace, address) in [(&near, "10.199.0.1/24"), (&far, "10.199.0.2/24")] {
            namespace.ip(&format!("addr add {address} dev wire"));
            namespace.ip("link set wire up");
        }
        Some(Self { near, far, far_address: Ipv4Addr::new(10, 199, 0, 2).into() })
    }

    /// Takes the far host off the wire: from here on it hears and says nothing.
    pub fn cut(&self) {
        self.far.ip("link set wire down");
    }
}
