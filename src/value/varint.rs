//! Writing protobuf's varints.

/// How many bytes `value` takes as a varint.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// The bytes of `value` as a varint, the first one lowest, and how many they are.
///
/// Without a branch on the length, which for a column of numbers cannot be foretold.
#[inline]
pub(super) fn varint(value: u64) -> (u128, usize) {
    let length = varint_len(value);
    // Seven bits to a byte, by halving: 28, 14, 7.
    let mut low = value & 0x00ff_ffff_ffff_ffff;
    low = (low & 0x0fff_ffff) | (low & 0x00ff_ffff_f000_0000) << 4;
    low = (low & 0x0000_3fff_0000_3fff) | (low & 0x0fff_c000_0fff_c000) << 2;
    low = (low & 0x007f_007f_007f_007f) | (low & 0x3f80_3f80_3f80_3f80) << 1;
    let high = value >> 56;
    let high = (high & 0x7f) | (high & 0x80) << 1;
    let bytes = u128::from(low) | u128::from(high) << 64;
    let more = (1_u128 << (8 * (length - 1))) - 1;
    let more = more & 0x8080_8080_8080_8080_8080_8080_8080_8080;
    (bytes | more, length)
}

/// Appends the lowest `length` bytes of `word`.
#[inline]
pub(super) fn write_word(out: &mut Vec<u8>, word: u128, length: usize) {
    // Copying a fixed length and cutting it is cheaper than copying a varying one.
    let before = out.len();
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(before + length);
}

/// Appends `value`, seven bits a byte, lowest first.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(value as u8);
    } else {
        let (word, length) = varint(value);
        write_word(out, word, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_bits_a_byte() {
        let mut values = vec![0, 1, u64::MAX];
        for bit in 0..64 {
            values.extend([(1_u64 << bit) - 1, 1 << bit, (1 << bit) | 1]);
            values.push(0x0123_4567_89ab_cdef_u64.rotate_left(bit) >> (63 - bit));
        }
        for value in values {
            let mut expected = Vec::new();
            prost::encoding::encode_varint(value, &mut expected);
            let mut written = vec![7];
            write_varint(&mut written, value);
            assert_eq!(written[1..], expected, "{value:#x}");
            assert_eq!(varint_len(value), expected.len(), "{value:#x}");
            let (word, length) = varint(value);
            assert_eq!(word.to_le_bytes()[..length], expected, "{value:#x}");
        }
    }
}
