//! Reads bit fields, most significant bit first.
//!
//! Supports the Exp-Golomb codes of H.264 besides plain fields. Reading past the
//! end is an error, [`OutOfBits`].

/// The data ended in the middle of a field, or a code is longer than any valid one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfBits;

/// A reader with a position in bits.
#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    pub(super) fn flag(&mut self) -> Result<bool, OutOfBits> {
        let byte = self.data.get(self.position / 8).ok_or(OutOfBits)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Ok(bit == 1)
    }

    /// Reads an unsigned field of up to 32 bits.
    pub(super) fn field(&mut self, width: u32) -> Result<u32, OutOfBits> {
        (0..width).try_fold(0u32, |value, _| Ok(value << 1 | u32::from(self.flag()?)))
    }

    /// Reads an unsigned Exp-Golomb code, `ue(v)` (ISO/IEC 14496-10, 9.1).
    pub(super) fn ue(&mut self) -> Result<u32, OutOfBits> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(OutOfBits);
            }
        }
        let rest = self.field(zeros)?;
        Ok((1u32 << zeros) - 1 + rest)
    }

    /// Reads a signed Exp-Golomb code, `se(v)` (ISO/IEC 14496-10, 9.1.1).
    pub(super) fn se(&mut self) -> Result<i32, OutOfBits> {
        let code = self.ue()?;
        let size = i32::try_from(code.div_ceil(2)).map_err(|_| OutOfBits)?;
        Ok(if code % 2 == 1 { size } else { -size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_have_the_values_of_the_standard() {
        // 1 | 010 | 011 | 00100 | 00101, table 9-2.
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4]);

        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| bits.se().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn a_code_longer_than_32_bits_is_refused() {
        // 31 zeros, then 32 ones: 2^32 - 2.
        let mut bits = Bits::new(&[0, 0, 0, 1, 255, 255, 255, 254]);
        assert_eq!(bits.ue(), Ok(u32::MAX - 1));
        assert_eq!(Bits::new(&[0, 0, 0, 0, 255, 255, 255, 255, 255]).ue(), Err(OutOfBits));
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut bits = Bits::new(&[0xa5]);
        assert_eq!(bits.field(8), Ok(0xa5));
        assert_eq!(bits.flag(), Err(OutOfBits));
    }
}
