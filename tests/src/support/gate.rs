//! A pod at a proxy's gate.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tidegate_admin::gate::{GateAnswer, GateLine, GateProgress};

use super::{Answer, DEADLINE};

/// A proxy's gate.
#[derive(Clone, Copy, Debug)]
pub struct Gate(pub SocketAddr);

/// A pod that waits at a gate and is told how far it is.
#[derive(Debug)]
pub struct Gated {
    lines: BufReader<TcpStream>,
}

impl Gate {
    fn connect(self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.0, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// `GET` with more lines of the head, such as a token; answered at the end.
    #[track_caller]
    pub fn get(self, path: &str, head: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{head}\r\n", self.0);
        match self.connect().and_then(|mut stream| Answer::to(&mut stream, request.as_bytes())) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer for {path}: {error}"),
        }
    }

    /// Waits for a pod to its end.
    #[track_caller]
    pub fn wait(self, uid: &str, timeout_ms: u64) -> GateAnswer {
        self.get(&format!("/v1/gate?uid={uid}&timeout_ms={timeout_ms}"), "").json()
    }

    /// Begins to wait for a pod.
    #[track_caller]
    pub fn follow(self, uid: &str) -> Gated {
        self.follow_for(uid, Some(DEADLINE))
    }

    /// Begins to wait for a pod, for so long or for as long as the proxy wants.
    #[track_caller]
    pub fn follow_for(self, uid: &str, limit: Option<Duration>) -> Gated {
        let mut stream = self.connect().unwrap();
        let limit = limit.map(|limit| format!("&timeout_ms={}", limit.as_millis())).unwrap_or_default();
        let path = format!("/v1/gate?uid={uid}{limit}&follow=true");
        // HTTP/1.0: the body comes without the lengths of its pieces.
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.0).unwrap();
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).unwrap() > 0, "no answer: {head}");
        }
        assert!(head.contains(" 200 "), "{head}");
        Gated { lines }
    }
}

impl Gated {
    /// The next line.
    #[track_caller]
    pub fn line(&mut self) -> GateLine {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line);
        assert!(matches!(read, Ok(1..)), "nothing more was said: {read:?}");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Reads until it is so far.
    #[track_caller]
    pub fn until(&mut self, is_there: impl Fn(&GateProgress) -> bool) -> GateProgress {
        loop {
            match self.line() {
                GateLine::Progress(progress) if is_there(&progress) => return progress,
                GateLine::Progress(_) => {}
                other => panic!("it was to go on: {other:?}"),
            }
        }
    }

    /// Reads until the answer.
    #[track_caller]
    pub fn answer(&mut self) -> GateAnswer {
        loop {
            match self.line() {
                GateLine::Answer(answer) => return answer,
                GateLine::Progress(_) => {}
                other @ GateLine::Again(_) => panic!("no answer: {other:?}"),
            }
        }
    }
}
