//! HTTP's chunked framing (RFC 9112, section 7.1), made once for bytes that many
//! viewers are sent at the same time.

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;

/// The variants of an item that viewers are sent at the same time: with and
/// without audio, and other containers.
const VARIANTS: usize = 4;

pub(super) const END: Bytes = Bytes::from_static(b"0\r\n\r\n");

/// The framed copies of the newest item.
#[derive(Debug, Default)]
pub(super) struct SharedFrames(RefCell<VecDeque<SharedFrame>>);

#[derive(Debug)]
struct SharedFrame {
    /// Kept, so that its address identifies the bytes.
    bytes: Bytes,
    framed: Bytes,
}

impl SharedFrames {
    /// `bytes` as one chunk in one buffer, which one `send` passes to the kernel;
    /// all callers with the same shared bytes get the same buffer.
    pub(super) fn frame(&self, bytes: &Bytes) -> Bytes {
        let mut frames = self.0.borrow_mut();
        if let Some(frame) = frames.iter().find(|frame| is_same(&frame.bytes, bytes)) {
            return frame.framed.clone();
        }
        let framed = Bytes::from([head(bytes.len()).as_ref(), bytes, b"\r\n"].concat());
        frames.truncate(VARIANTS - 1);
        frames.push_front(SharedFrame { bytes: bytes.clone(), framed: framed.clone() });
        framed
    }
}

/// Frames `bytes` as one chunk, without a copy. An empty chunk would end the
/// body, so nothing stays nothing.
pub(super) fn frame(bytes: &mut VecDeque<Bytes>) {
    let length = bytes.iter().map(Bytes::len).sum();
    if length > 0 {
        bytes.push_front(head(length));
        bytes.push_back(Bytes::from_static(b"\r\n"));
    }
}

fn head(length: usize) -> Bytes {
    format!("{length:X}\r\n").into()
}

fn is_same(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr() == other.as_ptr() && one.len() == other.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_bytes_are_framed_once_and_others_by_themselves() {
        let frames = SharedFrames::default();
        let item = Bytes::from(vec![b'x'; 26]);
        let framed = frames.frame(&item);
        assert_eq!(framed, [b"1A\r\n".as_slice(), &item, b"\r\n"].concat());
        assert!(is_same(&frames.frame(&item), &framed));

        let part = item.slice(20..);
        assert_eq!(frames.frame(&part), "6\r\nxxxxxx\r\n");
        assert!(is_same(&frames.frame(&item), &framed));
    }

    #[test]
    fn several_buffers_are_one_chunk_and_none_are_no_chunk() {
        let mut bytes = VecDeque::from(["one".into(), "two".into()]);
        frame(&mut bytes);
        assert_eq!(bytes.make_contiguous().concat(), b"6\r\nonetwo\r\n");
        let mut nothing = VecDeque::new();
        frame(&mut nothing);
        assert!(nothing.is_empty());
    }
}
