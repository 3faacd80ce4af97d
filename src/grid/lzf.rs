//! LZF, in which Redis packs long strings of what it dumps unless `rdbcompression no` is set.
//!
//! A control byte below 32 precedes one byte more than its number as they are. Any other is the head
//! of a repetition: three bits of length, 7 meaning that a byte to add follows, and the higher five of
//! thirteen bits that tell how far back it begins. Source of the format: Redis' `lzf_d.c`.

/// As many bytes as are copied at once, where there is room: the next ones overwrite the rest. Most
/// literals and repetitions are shorter than a word.
const STRIDE: usize = 32;
const WORD: usize = 8;

/// The most that one byte can stand for: three of them make 264.
pub(super) const MOST: usize = 88;

/// Unpacks into all of `out`; `None` if that is not what was packed.
pub(super) fn unpack(mut packed: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let [control, rest @ ..] = packed {
        let control = usize::from(*control);
        if control < 32 {
            let len = control + 1;
            let copied = len <= WORD && copy_chunk::<WORD>(rest, out, at)
                || copy_chunk::<STRIDE>(rest, out, at);
            if !copied {
                out.get_mut(at..at + len)?.copy_from_slice(rest.get(..len)?);
            }
            packed = &rest[len..];
            at += len;
            continue;
        }
        let (mut len, mut rest) = (control >> 5, rest);
        if len == 7 {
            let (&more, behind) = rest.split_first()?;
            len += usize::from(more);
            rest = behind;
        }
        len += 2;
        let (&low, behind) = rest.split_first()?;
        let back = ((control & 0x1F) << 8 | usize::from(low)) + 1;
        let start = at.checked_sub(back)?;
        if at + len > out.len() {
            return None;
        }
        if back >= WORD && at + len.next_multiple_of(WORD) <= out.len() {
            // Nearly always that is all, and with the loop alone a hash takes a quarter longer.
            copy_word(out, start, at)?;
            for step in (WORD..len).step_by(WORD) {
                copy_word(out, start + step, at + step)?;
            }
        } else {
            for place in at..at + len {
                out[place] = out[place - back];
            }
        }
        packed = behind;
        at += len;
    }
    (at == out.len()).then_some(())
}

/// Copies the first `N` bytes of `from`, if there are so many and room for them.
#[inline]
fn copy_chunk<const N: usize>(from: &[u8], to: &mut [u8], at: usize) -> bool {
    match (from.first_chunk::<N>(), to.get_mut(at..at + N)) {
        (Some(chunk), Some(room)) => {
            room.copy_from_slice(chunk);
            true
        }
        _ => false,
    }
}

/// Copies a word to behind it.
#[inline]
fn copy_word(bytes: &mut [u8], from: usize, to: usize) -> Option<()> {
    let word = *bytes.get(from..)?.first_chunk::<WORD>()?;
    bytes.get_mut(to..to + WORD)?.copy_from_slice(&word);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; len];
        unpack(packed, &mut out).map(|()| out)
    }

    /// Packs as a simple compressor would: repetitions that end before the next literal.
    fn pack(bytes: &[u8]) -> Vec<u8> {
        let (mut out, mut literals, mut at) = (Vec::new(), Vec::new(), 0);
        let flush = |literals: &mut Vec<u8>, out: &mut Vec<u8>| {
            for run in literals.chunks(32) {
                out.push(run.len() as u8 - 1);
                out.extend_from_slice(run);
            }
            literals.clear();
        };
        while at < bytes.len() {
            let same = |back: usize| {
                (bytes[at..].iter().zip(&bytes[at - back..]))
                    .take(264)
                    .take_while(|(a, b)| a == b)
                    .count()
            };
            let best = (1..=at.min(8192)).max_by_key(|&back| same(back));
            match best.map(|back| (back, same(back))) {
                Some((back, len)) if len >= 3 => {
                    flush(&mut literals, &mut out);
                    let (code, low) = (len - 2, back - 1);
                    out.push(((code.min(7) << 5) | (low >> 8)) as u8);
                    if code >= 7 {
                        out.push((code - 7) as u8);
                    }
                    out.push(low as u8);
                    at += len;
                }
                _ => {
                    literals.push(bytes[at]);
                    at += 1;
                }
            }
        }
        flush(&mut literals, &mut out);
        out
    }

    #[test]
    fn literals_and_repetitions() {
        assert_eq!(unpacked(b"\x02abc", 3).unwrap(), b"abc");
        // Three of them again, then the last byte ten times.
        let packed = b"\x02abc\x20\x02\xE0\x01\x00";
        assert_eq!(unpacked(packed, 16).unwrap(), b"abcabccccccccccc");
        assert_eq!(unpacked(b"", 0).unwrap(), b"");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (packed, len) in [
            (&b"\x02ab"[..], 3),
            (b"\x02abc", 2),
            (b"\x02abc", 4),
            (b"\x20\x00", 3),
            (b"\x00a\x20\x01", 4),
            (b"\x00a\x20", 4),
            (b"\x00a\xE0", 10),
            (b"\x00a\xE0\xFF\x00", 100),
        ] {
            assert_eq!(unpacked(packed, len), None, "{}", packed.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), 1..20_usize), 0..20)
        ) {
            let bytes: Vec<u8> = parts.iter().flat_map(|(part, n)| part.repeat(*n)).collect();
            prop_assert_eq!(unpacked(&pack(&bytes), bytes.len()), Some(bytes));
        }

        #[test]
        fn nothing_makes_it_panic(packed in prop::collection::vec(any::<u8>(), 0..200), len in 0..400_usize) {
            let _ = unpacked(&packed, len);
        }
    }
}
