//! A client that shows what comes over the wire: status, head, body, and a watch line by line.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::{apiserver::ApiServer, support::DEADLINE};

/// A client with a connection for each request.
pub(super) struct Client {
    address: SocketAddr,
    pub(super) token: Option<String>,
    pub(super) accept: &'static str,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: BTreeMap<String, String>,
    pub(super) body: String,
}

/// An answer whose body is still coming.
pub(super) struct Stream {
    pub(super) status: u16,
    head: BTreeMap<String, String>,
    body: Body,
}

struct Body {
    from: BufReader<TcpStream>,
    /// Decoded and not yet taken.
    text: Vec<u8>,
    is_chunked: bool,
    is_over: bool,
}

impl Client {
    pub(super) fn of(server: &ApiServer) -> Self {
        Self { address: server.address(), token: None, accept: "application/json" }
    }

    pub(super) fn try_send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> io::Result<Stream> {
        let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: double\r\nuser-agent: the-test/1\r\naccept: {}\r\n\
             connection: close\r\n",
            self.accept
        );
        if let Some(token) = &self.token {
            request += &format!("authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            request += &format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
        Stream::read(stream)
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, path, kind, body).and_then(Stream::whole).expect("an answer")
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", Some(body))
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, "application/json", Some(body))
    }

    pub(super) fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &format!("application/{kind}"), Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", None)
    }

    pub(super) fn watch(&self, path: &str) -> Stream {
        let stream = self.try_send("GET", path, "", None).expect("an answer");
        assert_eq!(stream.status, 200);
        stream
    }
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Stream {
    fn read(stream: TcpStream) -> io::Result<Self> {
        let mut from = BufReader::new(stream);
        let mut line = String::new();
        from.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut head = BTreeMap::new();
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            head.insert(name.to_owned(), value.trim().to_owned());
        }
        let is_chunked = head.get("transfer-encoding").is_some_and(|value| value == "chunked");
        Ok(Self { status, head, body: Body { from, text: Vec::new(), is_chunked, is_over: false } })
    }

    pub(super) fn whole(mut self) -> io::Result<Answer> {
        while !self.body.is_over {
            self.body.more()?;
        }
        let body = String::from_utf8_lossy(&self.body.text).into_owned();
        Ok(Answer { status: self.status, head: self.head, body })
    }

    /// The next line; none at the end of the stream, and an error where it was cut.
    pub(super) fn try_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.body.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.text.drain(..=at).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.body.is_over {
                return Ok(None);
            }
            self.body.more()?;
        }
    }

    pub(super) fn line(&mut self) -> Value {
        let line = self.try_line().expect("the stream goes on").expect("the stream has not ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// What is there of a line that did not end.
    pub(super) fn rest(&self) -> String {
        String::from_utf8_lossy(&self.body.text).into_owned()
    }

    pub(super) fn expect_end(&mut self) {
        assert_eq!(self.try_line().expect("the stream ends well"), None);
    }
}

impl Body {
    fn more(&mut self) -> io::Result<()> {
        if !self.is_chunked {
            self.from.read_to_end(&mut self.text)?;
            self.is_over = true;
            return Ok(());
        }
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut chunk = vec![0; size + 2];
        self.from.read_exact(&mut chunk)?;
        self.text.extend_from_slice(&chunk[..size]);
        self.is_over = size == 0;
        Ok(())
    }
}
