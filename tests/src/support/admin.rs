//! A client of the admin API: HTTP/1.1 over whatever stream, one request per connection.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::DEADLINE;

/// The admin API behind a Unix socket.
#[derive(Clone, Debug)]
pub struct Admin {
    path: PathBuf,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Admin {
    /// The API behind this socket.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A connection to it.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        Answer::to(&mut self.connect()?, request.as_bytes())
    }

    /// `POST` with a JSON body.
    pub fn post(&self, path: &str, body: &impl Serialize) -> io::Result<Answer> {
        let body = serde_json::to_string(body)?;
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Answer::to(&mut self.connect()?, request.as_bytes())
    }
}

impl Answer {
    /// Sends a request just as it is written, and reads the answer up to the end of the connection.
    pub fn to(stream: &mut (impl Read + Write), request: &[u8]) -> io::Result<Self> {
        // A server that refuses early may close before it has all.
        let sent = stream.write_all(request);
        let mut bytes = Vec::new();
        match stream.read_to_end(&mut bytes) {
            Err(error) if bytes.is_empty() => return Err(error),
            _ => {}
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            sent?;
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("no answer: {text:?}")));
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {head:?}")))?;
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    /// The body as JSON, of an answer that is good.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", self.body);
        match serde_json::from_str(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("not as documented: {error}: {}", self.body),
        }
    }
}
