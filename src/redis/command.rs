//! Commands, written in RESP into one buffer.

/// How many bytes of commands make a segment. Two segments are in flight at the most, which keeps
/// the server's output buffers and every proxy's between bounded, and the pipeline full.
const SEGMENT_BYTES: usize = 64 * 1024;

/// A run of commands that is written in one go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Segment {
    /// Where the segment ends in the buffer.
    end: usize,
    /// How many replies are due once this and all earlier segments are answered.
    replies: usize,
}

/// A pipeline of commands, each answered by one reply.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
    len: usize,
    open_from: usize,
}

impl Commands {
    /// An empty pipeline with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// How many commands, and so replies, there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes there are to send.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one command from its parts.
    pub fn push(&mut self, parts: &[&[u8]]) {
        self.begin(parts.len());
        for part in parts {
            self.argument(part);
        }
        self.end();
    }

    /// Starts a command of `parts` parts, its name included; [`argument`](Self::argument) must
    /// follow as often, then [`end`](Self::end).
    pub fn begin(&mut self, parts: usize) {
        write_length(&mut self.bytes, b'*', parts);
    }

    /// Adds one part of the command begun.
    pub fn argument(&mut self, part: &[u8]) {
        write_length(&mut self.bytes, b'$', part.len());
        self.bytes.extend_from_slice(part);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Adds bytes that are RESP already: a prepared head or tail of parts.
    pub fn raw(&mut self, resp: &[u8]) {
        self.bytes.extend_from_slice(resp);
    }

    /// Ends the command begun.
    pub fn end(&mut self) {
        self.len += 1;
        if self.bytes.len() - self.open_from >= SEGMENT_BYTES {
            self.close_segment();
        }
    }

    /// The segments in order: the bytes to write, and how many replies are due after them in all.
    pub fn segments(&self) -> impl Iterator<Item = (&[u8], usize)> {
        (0..).map_while(|number| self.segment(number))
    }

    /// One of the [`segments`](Self::segments), if there are so many.
    pub(super) fn segment(&self, number: usize) -> Option<(&[u8], usize)> {
        let start = match number.checked_sub(1) {
            None => 0,
            Some(last) => self.segments.get(last)?.end,
        };
        let open = (start < self.bytes.len()).then_some(Segment {
            end: self.bytes.len(),
            replies: self.len,
        });
        let segment = self.segments.get(number).copied().or(open)?;
        Some((&self.bytes[start..segment.end], segment.replies))
    }

    fn close_segment(&mut self) {
        self.segments.push(Segment {
            end: self.bytes.len(),
            replies: self.len,
        });
        self.open_from = self.bytes.len();
    }
}

/// Writes `<sigil><n>\r\n`, the head of an array or a bulk string.
pub fn write_length(bytes: &mut Vec<u8>, sigil: u8, n: usize) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    bytes.push(sigil);
    bytes.extend_from_slice(&digits[at..]);
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut commands = Commands::default();
        commands.push(&[b"HGETALL", b"k\r\n", b""]);
        let segments: Vec<_> = commands.segments().collect();
        assert_eq!(
            segments,
            [(&b"*3\r\n$7\r\nHGETALL\r\n$3\r\nk\r\n\r\n$0\r\n\r\n"[..], 1)]
        );
    }

    #[test]
    fn long_pipelines_are_cut_into_segments_between_commands() {
        let mut commands = Commands::default();
        let value = vec![b'x'; 30_000];
        for _ in 0..7 {
            commands.push(&[b"ECHO", &value]);
        }
        let segments: Vec<_> = commands.segments().map(|(b, n)| (b.len(), n)).collect();
        assert_eq!(segments.iter().map(|s| s.1).collect::<Vec<_>>(), [3, 6, 7]);
        assert_eq!(segments[0].0, segments[1].0);
        assert_eq!(
            segments.iter().map(|s| s.0).sum::<usize>(),
            commands.bytes.len()
        );
    }
}
