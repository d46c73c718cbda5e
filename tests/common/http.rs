//! A small HTTP/1.1 client on a plain socket: whole answers and endless bodies.
//!
//! One request per connection. It sends what it is told, also what a proper
//! client would not: foreign hosts, escaping paths.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Silence longer than this is a failure.
const TIMEOUT: Duration = super::wait::TIMEOUT;

/// Where requests go.
#[derive(Clone, Copy, Debug)]
pub struct Http {
    pub address: SocketAddr,
}

/// A request before it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    host: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    address: SocketAddr,
}

/// A status line with its headers.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: u16,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

/// A body that is read while it arrives.
#[derive(Debug)]
pub struct Body<R = TcpStream> {
    from: BufReader<R>,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// Bytes that are still to come.
    Length(u64),
    /// Bytes that are still to come of the current chunk.
    Chunked(u64),
    UntilClose,
    Ended,
}

impl Http {
    pub fn local(port: u16) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            path: path.to_owned(),
            host: self.address.to_string(),
            headers: Vec::new(),
            body: Vec::new(),
            address: self.address,
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path).answer()
    }

    pub fn put(&self, path: &str) -> Answer {
        self.request("PUT", path).answer()
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.request("POST", path).json(body).answer()
    }

    /// Opens an endless answer, which has to be a 200.
    pub fn open(&self, path: &str) -> (Head, Body) {
        let (head, body) = self
            .request("GET", path)
            .send()
            .unwrap_or_else(|e| panic!("GET {path} is not answered: {e}"));
        assert_eq!(head.status, 200, "GET {path}");
        (head, body)
    }
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names another host than the one that is asked.
    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().as_bytes())
    }

    pub fn form(self, body: &str) -> Self {
        self.body("application/x-www-form-urlencoded", body.as_bytes())
    }

    pub fn body(mut self, content_type: &str, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Type", content_type)
    }

    /// Sends the request and reads the whole answer.
    pub fn answer(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        self.try_answer().unwrap_or_else(|e| panic!("{what} is not answered: {e}"))
    }

    pub fn try_answer(self) -> Result<Answer> {
        let (head, mut from) = self.send()?;
        let mut body = Vec::new();
        from.read_to_end(&mut body)?;
        Ok(Answer { head, body })
    }

    /// Sends the request and reads the head of the answer.
    pub fn send(self) -> Result<(Head, Body)> {
        let mut socket = TcpStream::connect_timeout(&self.address, TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.write_all(&self.bytes())?;
        let (head, mut body) = read_answer(socket)?;
        if self.method == "HEAD" {
            body.framing = Framing::Ended;
        }
        Ok((head, body))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        let length = self.body.len();
        if length > 0 || matches!(self.method.as_str(), "POST" | "PUT") {
            text += &format!("Content-Length: {length}\r\n");
        }
        text += "Connection: close\r\n\r\n";
        [text.as_bytes(), &self.body].concat()
    }
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().find(same).map(|(_, value)| value.as_str())
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("the answer is not JSON ({e}): {:?}", self.text()))
    }
}

impl Body {
    /// The answer to the request after this one, which has been read to its end.
    pub fn next(self) -> Result<(Head, Self)> {
        read_on(self.from)
    }

    /// A handle with which another thread ends the connection.
    pub fn socket(&self) -> TcpStream {
        self.from.get_ref().try_clone().expect("a socket can be shared")
    }

    /// Reads exactly `count` bytes.
    pub fn take_bytes(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn close(self) {
        // The other side may have been quicker.
        self.socket().shutdown(Shutdown::Both).ok();
    }
}

impl<R: Read> Body<R> {
    /// Reads the size line of the next chunk, and the end of the last one.
    fn next_chunk(&mut self) -> Result<u64> {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            if self.from.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let digits = line.trim().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16)
            .map_err(|_| Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}")))
    }

    fn read_at_most(&mut self, buf: &mut [u8], left: u64) -> Result<usize> {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        match self.from.read(&mut buf[..most])? {
            0 if most > 0 => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        if matches!(self.framing, Framing::Chunked(0)) {
            let size = self.next_chunk()?;
            self.framing = if size == 0 { Framing::Ended } else { Framing::Chunked(size) };
        }
        match self.framing {
            Framing::Ended | Framing::Length(0) => Ok(0),
            Framing::UntilClose => self.from.read(buf),
            Framing::Length(left) => {
                let read = self.read_at_most(buf, left)?;
                self.framing = Framing::Length(left - read as u64);
                Ok(read)
            }
            Framing::Chunked(left) => {
                let read = self.read_at_most(buf, left)?;
                self.framing = Framing::Chunked(left - read as u64);
                Ok(read)
            }
        }
    }
}

/// Reads the head of the answer to a `GET` or a `POST`; the body follows as it arrives.
pub fn read_answer<R: Read>(from: R) -> Result<(Head, Body<R>)> {
    read_on(BufReader::with_capacity(64 * 1024, from))
}

fn read_on<R: Read>(mut from: BufReader<R>) -> Result<(Head, Body<R>)> {
    let head = read_head(&mut from)?;
    let framing = framing(&head)?;
    Ok((head, Body { from, framing }))
}

fn read_head(from: &mut impl BufRead) -> Result<Head> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| Error::new(ErrorKind::InvalidData, format!("status line {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(Head { status, headers })
}

fn framing(head: &Head) -> Result<Framing> {
    if head.header("Transfer-Encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked(0));
    }
    match head.header("Content-Length") {
        None if matches!(head.status, 204 | 304) => Ok(Framing::Ended),
        None => Ok(Framing::UntilClose),
        Some(length) => length
            .parse()
            .map(Framing::Length)
            .map_err(|_| Error::new(ErrorKind::InvalidData, format!("length {length:?}"))),
    }
}
