//! H.264 of pictures that are larger than any decoder should take, in few bytes:
//! each is one flat area (ISO/IEC 14496-10).

/// In macroblocks of 16×16: 16000×8000.
const WIDTH: u32 = 1000;
const HEIGHT: u32 = 500;

/// Level 6.2, the largest there is.
const LEVEL: u32 = 62;

/// So many pictures in Annex B form, each a key frame with its parameter sets.
pub fn h264(pictures: u32) -> Vec<u8> {
    let unit = |header: u8, bits: Bits| {
        let mut unit = vec![0, 0, 0, 1, header];
        unit.extend(bits.escaped());
        unit
    };
    let all = (0..pictures).flat_map(|number| {
        [unit(0x67, sequence()), unit(0x68, picture()), unit(0x65, slice(number % 2))].concat()
    });
    all.collect()
}

/// The sequence parameter set (section 7.3.2.1.1).
fn sequence() -> Bits {
    let mut bits = Bits::default();
    // Constrained Baseline.
    bits.put(66, 8).put(0xc0, 8).put(LEVEL, 8);
    bits.golomb(0).golomb(0);
    // The order of pictures is that of their decoding; one is referred to.
    bits.golomb(2).golomb(1).put(0, 1);
    bits.golomb(WIDTH - 1).golomb(HEIGHT - 1);
    bits.put(1, 1).put(1, 1).put(0, 1).put(0, 1);
    bits
}

/// The picture parameter set (section 7.3.2.2).
fn picture() -> Bits {
    let mut bits = Bits::default();
    bits.golomb(0).golomb(0).put(0, 2);
    bits.golomb(0).golomb(0).golomb(0).put(0, 3);
    bits.golomb(0).golomb(0).golomb(0).put(0, 3);
    bits
}

/// One slice with all macroblocks, each predicted and without a residual
/// (sections 7.3.3 and 7.3.5).
fn slice(id: u32) -> Bits {
    let mut bits = Bits::default();
    bits.golomb(0).golomb(7).golomb(0).put(0, 4).golomb(id).put(0, 2).golomb(0);
    for _ in 0..WIDTH * HEIGHT {
        // Intra 16×16 by the mean, of chroma too; the same quantiser; no coefficient.
        bits.golomb(3).golomb(0).golomb(0).put(1, 1);
    }
    bits
}

/// Bits, the most significant one first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, width: u32) -> &mut Self {
        for at in (0..width).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = (value >> at & 1) as u8;
            self.bytes[self.count / 8] |= bit << (7 - self.count % 8);
            self.count += 1;
        }
        self
    }

    /// As section 9.1 writes numbers; a signed zero is the same.
    fn golomb(&mut self, value: u32) -> &mut Self {
        let width = (value + 1).ilog2();
        self.put(0, width).put(value + 1, width + 1)
    }

    /// With the bit that ends it, and bytes against what looks like a start code.
    fn escaped(mut self) -> Vec<u8> {
        self.put(1, 1);
        let mut out = Vec::with_capacity(self.bytes.len());
        let mut zeros = 0;
        for byte in self.bytes {
            if zeros == 2 && byte <= 3 {
                out.push(3);
                zeros = 0;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            out.push(byte);
        }
        out
    }
}
