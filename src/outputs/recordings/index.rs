//! The duration of an MP4, from its `moov` box (ISO/IEC 14496-12).

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

/// The `moov` box of a recording is among its first boxes.
const MAX_BOXES: usize = 8;

/// The duration of the `mvhd` box; `None` if it is zero, as in a fragmented file.
pub(super) fn read_duration(file: &mut (impl Read + Seek)) -> Option<Duration> {
    let mut at = 0;
    for _ in 0..MAX_BOXES {
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

/// Reads a box header: type, length of the header, length of the box.
fn header(file: &mut impl Read) -> Option<([u8; 4], u64, u64)> {
    let [a, b, c, d, kind @ ..] = read_array::<8>(file)?;
    match u32::from_be_bytes([a, b, c, d]) {
        1 => Some((kind, 16, u64::from_be_bytes(read_array(file)?))),
        length => Some((kind, 8, u64::from(length))),
    }
}

fn movie_header(file: &mut impl Read) -> Option<Duration> {
    let [version, ..] = read_array::<4>(file)?;
    let (timescale, duration) = if version == 1 {
        read_array::<16>(file)?;
        (u32::from_be_bytes(read_array(file)?), u64::from_be_bytes(read_array(file)?))
    } else {
        read_array::<8>(file)?;
        (u32::from_be_bytes(read_array(file)?), u64::from(u32::from_be_bytes(read_array(file)?)))
    };
    (timescale > 0 && duration > 0)
        .then(|| Duration::try_from_secs_f64(duration as f64 / f64::from(timescale)).ok())
        .flatten()
}

fn read_array<const N: usize>(file: &mut impl Read) -> Option<[u8; N]> {
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
    fn the_duration_is_read_from_both_versions_of_mvhd() {
        let plain =
            [&[0; 12], &1000u32.to_be_bytes()[..], &2500u32.to_be_bytes(), &[0; 80]].concat();
        assert_eq!(
            read_duration(&mut file(&boxed(b"mvhd", &plain))),
            Some(Duration::from_millis(2500))
        );
        let wide =
            [&[1, 0, 0, 0], &[0; 16][..], &10u32.to_be_bytes(), &25u64.to_be_bytes()].concat();
        assert_eq!(
            read_duration(&mut file(&boxed(b"mvhd", &wide))),
            Some(Duration::from_millis(2500))
        );
    }

    #[test]
    fn fragmented_and_other_files_have_no_duration() {
        let fragments = [&[0; 12], &1000u32.to_be_bytes()[..], &0u32.to_be_bytes()].concat();
        assert_eq!(read_duration(&mut file(&boxed(b"mvhd", &fragments))), None);
        assert_eq!(read_duration(&mut Cursor::new(b"no film".to_vec())), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            read_duration(&mut Cursor::new(bytes.clone()));
            read_duration(&mut file(&bytes));
        }
    }
}
