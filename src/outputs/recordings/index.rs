//! How long an MP4 is, from the index in front (ISO/IEC 14496-12).

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

/// The index of a recording stands behind no more boxes than this.
const BOXES: usize = 8;

/// What its `mvhd` says; nothing where that is zero, as in a file of fragments.
pub(super) fn span_of(file: &mut (impl Read + Seek)) -> Option<Duration> {
    let mut at = 0;
    for _ in 0..BOXES {
        file.seek(SeekFrom::Start(at)).ok()?;
        let (kind, head, length) = header(file)?;
        if kind == *b"moov" {
            file.seek(SeekFrom::Start(at + head)).ok()?;
            let (kind, _, _) = header(file)?;
            return (kind == *b"mvhd").then(|| movie_header(file)).flatten();
        }
        at = at.checked_add(length.max(head))?;
    }
    None
}

/// The kind of a box, the length of its header, and its own.
fn header(file: &mut impl Read) -> Option<([u8; 4], u64, u64)> {
    let [a, b, c, d, kind @ ..] = take::<8>(file)?;
    match u32::from_be_bytes([a, b, c, d]) {
        1 => Some((kind, 16, u64::from_be_bytes(take(file)?))),
        length => Some((kind, 8, u64::from(length))),
    }
}

fn movie_header(file: &mut impl Read) -> Option<Duration> {
    let [version, ..] = take::<4>(file)?;
    let (timescale, duration) = if version == 1 {
        take::<16>(file)?;
        (u32::from_be_bytes(take(file)?), u64::from_be_bytes(take(file)?))
    } else {
        take::<8>(file)?;
        (u32::from_be_bytes(take(file)?), u64::from(u32::from_be_bytes(take(file)?)))
    };
    (timescale > 0 && duration > 0)
        .then(|| Duration::try_from_secs_f64(duration as f64 / f64::from(timescale)).ok())
        .flatten()
}

fn take<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn boxed(kind: &[u8; 4], inside: &[u8]) -> Vec<u8> {
        let length = u32::try_from(inside.len() + 8).unwrap();
        [&length.to_be_bytes(), kind.as_slice(), inside].concat()
    }

    fn file(inside_moov: &[u8]) -> Cursor<Vec<u8>> {
        let all = [boxed(b"ftyp", b"isom"), boxed(b"free", &[0; 99]), boxed(b"moov", inside_moov)];
        Cursor::new(all.concat())
    }

    #[test]
    fn both_versions_of_the_movie_header_tell_how_long_it_is() {
        let plain =
            [&[0; 12], &1000u32.to_be_bytes()[..], &2500u32.to_be_bytes(), &[0; 80]].concat();
        assert_eq!(span_of(&mut file(&boxed(b"mvhd", &plain))), Some(Duration::from_millis(2500)));
        let wide =
            [&[1, 0, 0, 0], &[0; 16][..], &10u32.to_be_bytes(), &25u64.to_be_bytes()].concat();
        assert_eq!(span_of(&mut file(&boxed(b"mvhd", &wide))), Some(Duration::from_millis(2500)));
    }

    #[test]
    fn fragments_and_other_files_have_none() {
        let fragments = [&[0; 12], &1000u32.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
        assert_eq!(span_of(&mut file(&boxed(b"mvhd", &fragments))), None);
        assert_eq!(span_of(&mut Cursor::new(b"no film".to_vec())), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            span_of(&mut Cursor::new(bytes.clone()));
            span_of(&mut file(&bytes));
        }
    }
}
