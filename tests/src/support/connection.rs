//! One end of a TCP connection, a client's or an endpoint's, with a deadline on every call.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{DEADLINE, until};

/// A connection whose reads and writes end with the test's deadline. Expectations that do not hold panic.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    /// Connects.
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        match Self::try_open(address) {
            Ok(connection) => connection,
            Err(error) => panic!("cannot connect to {address}: {error}"),
        }
    }

    /// Connects, or says why not.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect_timeout(&address, DEADLINE)?)
    }

    /// Connects with a receive buffer of so many bytes, so that what it does not read waits with the sender.
    #[track_caller]
    pub fn open_narrow(address: SocketAddr, receive_buffer: usize) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_recv_buffer_size(receive_buffer).unwrap();
        socket.connect_timeout(&address.into(), DEADLINE).unwrap();
        Self::new(socket.into()).unwrap()
    }

    /// Connects from this source address, which may have port 0.
    pub fn open_from(source: SocketAddr, address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&source.into())?;
        socket.connect_timeout(&address.into(), DEADLINE)?;
        Self::new(socket.into())
    }

    /// A connect that ends in a reset before a byte is exchanged. The reset may be faster than connect(2)'s answer.
    #[track_caller]
    pub fn expect_refused(connect: io::Result<Self>) {
        match connect {
            Ok(mut client) => client.expect_reset(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// Takes a stream over.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// A second handle of the same connection.
    pub fn share(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    /// This end's address.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// The other end's address.
    pub fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    /// Sends.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            panic!("cannot send {} bytes: {error}", bytes.len());
        }
    }

    /// Sends one urgent byte (MSG_OOB).
    pub fn send_urgent(&mut self, byte: u8) {
        assert_eq!(SockRef::from(&self.stream).send_out_of_band(&[byte]).unwrap(), 1);
    }

    /// Sends until nobody takes anything for `patience`; returns how many bytes were taken. The bytes are those of
    /// [`super::Pattern`] from its beginning.
    pub fn send_until_stuck(&mut self, patience: Duration) -> u64 {
        self.stream.set_write_timeout(Some(patience)).unwrap();
        let pattern = super::Pattern::default();
        let mut sent = 0;
        loop {
            match self.stream.write(pattern.at(sent)) {
                Ok(taken) => sent += taken as u64,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("sending failed after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(DEADLINE)).unwrap();
        sent
    }

    /// Receives exactly so many bytes.
    #[track_caller]
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        if let Err(error) = self.stream.read_exact(&mut bytes) {
            panic!("cannot receive {count} bytes: {error}");
        }
        bytes
    }

    /// Receives what is expected.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let received = self.receive(bytes.len());
        assert_eq!(received.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }

    /// Sends a message and receives the same bytes from an endpoint that echoes.
    #[track_caller]
    pub fn exchange(&mut self, message: &[u8]) {
        self.send(message);
        self.expect(message);
    }

    /// The line with which a greeting endpoint says who it is.
    #[track_caller]
    pub fn greeting(&mut self) -> SocketAddr {
        let mut line = Vec::new();
        loop {
            match self.receive(1)[0] {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        String::from_utf8(line).unwrap().parse().unwrap()
    }

    /// Receives everything up to the FIN.
    #[track_caller]
    pub fn receive_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            panic!("no FIN after {} bytes: {error}", bytes.len());
        }
        bytes
    }

    /// Sends a FIN; the other direction stays open.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Receives a FIN, and nothing ahead of it.
    #[track_caller]
    pub fn expect_end(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Ok(_) => panic!("a byte where a FIN was expected"),
            Err(error) => panic!("no FIN: {error}"),
        }
    }

    /// Receives a reset, and nothing ahead of it.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let bytes = self.receive_to_reset();
        assert!(bytes.is_empty(), "{} bytes ahead of the reset", bytes.len());
    }

    /// Receives everything up to the reset.
    #[track_caller]
    pub fn receive_to_reset(&mut self) -> Vec<u8> {
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("a FIN after {} bytes where a reset was expected", bytes.len()),
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return bytes,
                Err(error) => panic!("no reset after {} bytes: {error}", bytes.len()),
            }
        }
    }

    /// Waits until the kernel knows that the other end reset, without reading a byte.
    #[track_caller]
    pub fn wait_for_reset(&self) {
        self.wait_for_error(ErrorKind::ConnectionReset);
    }

    /// Waits until the kernel knows that the connection has failed so, without reading a byte.
    #[track_caller]
    pub fn wait_for_error(&self, kind: ErrorKind) {
        until("the connection has failed", || {
            let error = self.stream.take_error().unwrap();
            error.is_some_and(|error| error.kind() == kind)
        });
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
