//! FLV as a receiver of RTMP passes it on, read without livebox.

use std::path::Path;

/// One tag.
#[derive(Debug)]
pub struct Tag {
    /// 8 is sound, 9 a picture, 18 a script.
    pub kind: u8,
    /// Milliseconds.
    pub time: u32,
    pub body: Vec<u8>,
}

/// The whole tags of a file that may still grow.
pub fn tags(file: &Path) -> Vec<Tag> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let mut rest = bytes.get(13..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some((head, behind)) = rest.split_at_checked(11) {
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        let time = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
        let Some((body, behind)) = behind.split_at_checked(length) else { break };
        found.push(Tag { kind: head[0], time, body: body.to_vec() });
        rest = behind.get(4..).unwrap_or_default();
    }
    found
}

impl Tag {
    pub fn is_metadata(&self) -> bool {
        self.kind == 18 && has(&self.body, b"onMetaData")
    }

    /// A number of the metadata by its name.
    pub fn number(&self, name: &str) -> Option<f64> {
        let key = [name.as_bytes(), &[0]].concat();
        let at = self.body.windows(key.len()).position(|window| window == key)?;
        let value = self.body.get(at + key.len()..)?.first_chunk::<8>()?;
        Some(f64::from_be_bytes(*value))
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
