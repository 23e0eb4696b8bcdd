//! Endpoints that the test serves itself, on loopback addresses of their own.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{Connection, DEADLINE, SliceEndpoint};

/// What an endpoint does with a connection; it knows its own address.
pub type Behaviour = fn(&mut Connection, SocketAddr);

/// A listening endpoint. With a behaviour it serves each connection on a thread; without one the test accepts.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    accepted: Arc<AtomicUsize>,
}

impl Endpoint {
    /// An endpoint whose connections the test accepts.
    pub fn listen() -> Self {
        Self::on(free_address(0)).expect("an address of its own is free")
    }

    /// An endpoint that says who it is and then echoes.
    pub fn greeting() -> Self {
        Self::serving(greet_and_echo)
    }

    /// An endpoint that serves each connection so.
    pub fn serving(behaviour: Behaviour) -> Self {
        Self::listen().serve(behaviour)
    }

    /// So many endpoints with one port number, as the pods of a Service have it, that greet and echo.
    pub fn greeting_group(count: usize) -> Vec<Self> {
        Self::group(count).into_iter().map(|endpoint| endpoint.serve(greet_and_echo)).collect()
    }

    /// So many endpoints with one port number whose connections the test accepts.
    pub fn group(count: usize) -> Vec<Self> {
        // A port that is free on the first address may be taken on another one, by a client's socket; then the next
        // free port is as good.
        loop {
            let first = Self::listen();
            let port = first.address.port();
            let rest = (1..count).map(|_| Self::on(free_address(port)));
            if let Ok(rest) = rest.collect::<Result<Vec<_>, _>>() {
                return std::iter::once(first).chain(rest).collect();
            }
        }
    }

    /// An endpoint on this address; port 0 for any.
    pub fn on(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // accept(2) honours the receive timeout.
        SockRef::from(&listener).set_read_timeout(Some(DEADLINE))?;
        let address = listener.local_addr()?;
        Ok(Self { address, listener: Arc::new(listener), accepted: Arc::default() })
    }

    /// Serves each connection on a thread of its own.
    pub fn serve(self, behaviour: Behaviour) -> Self {
        let (listener, accepted, address) =
            (Arc::clone(&self.listener), Arc::clone(&self.accepted), self.address);
        SockRef::from(&*listener).set_read_timeout(None).unwrap();
        // It ends when the listener is shut down.
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                accepted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    if let Ok(mut connection) = Connection::new(stream) {
                        behaviour(&mut connection, address);
                    }
                });
            }
        });
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listening socket.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&*self.listener)
    }

    /// How it stands in a slice, without conditions.
    pub fn in_slice(&self) -> SliceEndpoint {
        SliceEndpoint::at(self.address.ip())
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Connection {
        match self.listener.accept() {
            Ok((stream, _)) => {
                self.accepted.fetch_add(1, Ordering::SeqCst);
                Connection::new(stream).unwrap()
            }
            Err(error) => panic!("nobody connected to the endpoint {}: {error}", self.address),
        }
    }

    /// A connection that waits already; none is not waited for.
    pub fn accept_waiting(&self) -> Option<Connection> {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        match accepted {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                Some(Connection::new(stream).unwrap())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("the endpoint {} cannot accept: {error}", self.address),
        }
    }

    /// Fills its accept queue, so that the kernel drops the SYN of whoever connects next. What fills it is returned;
    /// accepting makes room again.
    pub fn fill_queue(&self) -> Vec<TcpStream> {
        // A second listen(2) changes the length.
        self.socket().listen(0).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, Duration::from_millis(300)) {
            queued.push(stream);
        }
        queued
    }

    /// How many connections it has accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Stops listening: from here on connects are refused. Connections go on.
    pub fn close(&self) {
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.close();
    }
}

/// Says who it is, then echoes until the FIN.
pub fn greet_and_echo(connection: &mut Connection, address: SocketAddr) {
    if writeln!(connection, "{address}").is_ok() {
        echo(connection, address);
    }
}

/// Sends back what it gets, and a FIN for a FIN.
pub fn echo(connection: &mut Connection, _: SocketAddr) {
    let mut buffer = [0; 16 * 1024];
    // A flow may be silent for long; the thread ends with its connection, or with the test.
    connection.stream().set_read_timeout(None).unwrap();
    while let Ok(count @ 1..) = connection.read(&mut buffer) {
        if connection.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// An address of this machine on which nobody listens, for a process that has to be told where to listen.
pub fn unused_address() -> SocketAddr {
    let listener = TcpListener::bind(free_address(0)).expect("an address of its own is free");
    listener.local_addr().expect("it is bound")
}

/// An address of 127.0.0.0/8 that no other endpoint of this process has, and hardly one of another process.
pub(crate) fn free_address(port: u16) -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static NETWORK: LazyLock<u8> = LazyLock::new(|| 64 + (std::process::id() % 128) as u8);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [.., high, low] = (number / 250 * 256 + number % 250 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, *NETWORK, high, low)), port)
}
