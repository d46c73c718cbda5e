//! A viewer of Motion JPEG that reads parts by their length.

use super::http::{Body, Http};

/// One picture with what was said of it.
#[derive(Clone, Debug)]
pub struct Part {
    pub head: String,
    pub jpeg: Vec<u8>,
}

/// An endless answer of the type `multipart/x-mixed-replace`.
#[derive(Debug)]
pub struct Mjpeg {
    body: Body,
}

impl Mjpeg {
    pub fn open(http: Http, path: &str) -> Self {
        let (head, body) = http.open(path);
        let content_type = head.header("Content-Type");
        assert_eq!(content_type, Some("multipart/x-mixed-replace;boundary=livebox"));
        Self { body }
    }

    /// The next part; panics where that is no whole JPEG.
    pub fn next(&mut self) -> Part {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.body.take_bytes(1).expect("the pictures go on"));
            assert!(head.len() < 1000, "{:?}", String::from_utf8_lossy(&head));
        }
        let head = String::from_utf8(head).expect("heads are text");
        assert!(head.trim_start().starts_with("--livebox\r\n"), "{head:?}");
        let length = value(&head, "Content-Length").parse().expect("a length is a number");
        let jpeg = self.body.take_bytes(length).expect("the picture comes whole");
        assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
        Part { head, jpeg }
    }
}

impl Part {
    /// When it was taken, in seconds since 1970.
    pub fn taken(&self) -> f64 {
        value(&self.head, "X-Timestamp").parse().expect("a time is a number")
    }
}

fn value<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut found = lines.filter(|(key, _)| *key == name);
    found.next().unwrap_or_else(|| panic!("no {name} in {head:?}")).1
}
