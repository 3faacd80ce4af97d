//! Commands, written in RESP into one buffer.
//!
//! Each is remembered with the key that it is about, so that a pipeline can be split among the
//! servers that have the keys.

/// How many bytes of commands make a segment.
pub(super) const SEGMENT_BYTES: usize = 64 * 1024;

/// How many bytes of expected replies do.
///
/// A server runs all the commands that it finds before it sends the first reply to them, and before
/// it listens to anybody else. Of commands that come a few at a time the replies are taken in while
/// the next ones are made, and other clients are served in between.
const SEGMENT_REPLY_BYTES: usize = 32 * 1024;

/// A run of commands that is written in one go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Segment {
    /// Where the segment ends in the buffer.
    end: usize,
    /// How many replies are due once this and all earlier segments are answered.
    replies: usize,
}

/// Which server a command is for, where there are several.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aim<'a> {
    /// The one that has this key.
    Key(&'a [u8]),
    /// Any.
    Any,
    /// Each one that gets another command of the pipeline.
    Each,
}

/// Where a command ends, and what it is aimed at.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: usize,
    target: Target,
    /// How many bytes of reply are expected.
    reply: u32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Target {
    /// The key's range of the buffer.
    Key {
        start: usize,
        end: usize,
    },
    #[default]
    Any,
    Each,
}

/// A pipeline of commands, each answered by one reply.
#[derive(Clone, Debug, Default)]
pub struct Commands {
    bytes: Vec<u8>,
    segments: Vec<Segment>,
    marks: Vec<Mark>,
    /// The target of the command begun.
    target: Target,
    open_from: usize,
    /// How many bytes of reply are expected to the open segment.
    open_reply: usize,
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
        self.marks.len()
    }

    /// How many bytes there are to send.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Adds one command, of no key, from its parts.
    pub fn push(&mut self, parts: &[&[u8]]) {
        self.begin(parts.len());
        for part in parts {
            self.argument(part);
        }
        self.end();
    }

    /// Adds one command whose second part is its key.
    pub fn push_for_key(&mut self, parts: &[&[u8]]) {
        self.begin(parts.len());
        for (place, part) in parts.iter().enumerate() {
            if place == 1 {
                self.key(part);
            } else {
                self.argument(part);
            }
        }
        self.end();
    }

    /// Adds one command that every server must run that gets another one of this pipeline. The
    /// reply is any one of theirs.
    pub fn push_for_each(&mut self, parts: &[&[u8]]) {
        self.push(parts);
        if let Some(mark) = self.marks.last_mut() {
            mark.target = Target::Each;
        }
    }

    /// Starts a command of `parts` parts, its name included; [`argument`](Self::argument), or
    /// [`key`](Self::key) for its key, must follow as often, then [`end`](Self::end).
    pub fn begin(&mut self, parts: usize) {
        write_length(&mut self.bytes, b'*', parts);
    }

    /// Adds one part of the command begun.
    pub fn argument(&mut self, part: &[u8]) {
        write_length(&mut self.bytes, b'$', part.len());
        self.bytes.extend_from_slice(part);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Adds the part of the command begun that is its key.
    pub fn key(&mut self, key: &[u8]) {
        self.argument(key);
        let end = self.bytes.len() - 2;
        self.target = Target::Key {
            start: end - key.len(),
            end,
        };
    }

    /// Adds bytes that are RESP already: a prepared head or tail of parts.
    pub fn raw(&mut self, resp: &[u8]) {
        self.bytes.extend_from_slice(resp);
    }

    /// Ends the command begun, to which a short reply is expected.
    pub fn end(&mut self) {
        self.end_expecting(0);
    }

    /// Ends the command begun, to which `reply` bytes of reply are expected.
    pub fn end_expecting(&mut self, reply: usize) {
        self.marks.push(Mark {
            end: self.bytes.len(),
            target: std::mem::take(&mut self.target),
            reply: reply as u32,
        });
        self.open_reply += reply;
        if self.bytes.len() - self.open_from >= SEGMENT_BYTES
            || self.open_reply >= SEGMENT_REPLY_BYTES
        {
            self.close_segment();
        }
    }

    /// What a command is aimed at.
    #[must_use]
    pub fn aim(&self, command: usize) -> Aim<'_> {
        match self.marks[command].target {
            Target::Key { start, end } => Aim::Key(&self.bytes[start..end]),
            Target::Any => Aim::Any,
            Target::Each => Aim::Each,
        }
    }

    /// Adds a command of another pipeline as it is.
    pub fn push_copy(&mut self, of: &Self, command: usize) {
        let start = match command {
            0 => 0,
            _ => of.marks[command - 1].end,
        };
        let Mark { end, target, reply } = of.marks[command];
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(&of.bytes[start..end]);
        self.target = match target {
            Target::Key {
                start: key,
                end: key_end,
            } => Target::Key {
                start: key - start + offset,
                end: key_end - start + offset,
            },
            other => other,
        };
        self.end_expecting(reply as usize);
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
            replies: self.len(),
        });
        let segment = self.segments.get(number).copied().or(open)?;
        Some((&self.bytes[start..segment.end], segment.replies))
    }

    fn close_segment(&mut self) {
        self.segments.push(Segment {
            end: self.bytes.len(),
            replies: self.len(),
        });
        self.open_from = self.bytes.len();
        self.open_reply = 0;
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
    fn copied_commands_keep_their_keys() {
        let mut commands = Commands::default();
        commands.push(&[b"PING"]);
        commands.push_for_key(&[b"HSET", b"key", b"f", b"v"]);
        commands.push_for_each(&[b"SCRIPT", b"LOAD", b"return 1"]);
        let mut copy = Commands::default();
        for command in [1, 2, 1, 0] {
            copy.push_copy(&commands, command);
        }
        let aims: Vec<_> = (0..4).map(|command| copy.aim(command)).collect();
        assert_eq!(
            aims,
            [Aim::Key(b"key"), Aim::Each, Aim::Key(b"key"), Aim::Any]
        );
        let bytes: Vec<u8> = copy
            .segments()
            .flat_map(|(bytes, _)| bytes.to_vec())
            .collect();
        assert!(bytes.ends_with(
            b"*4\r\n$4\r\nHSET\r\n$3\r\nkey\r\n$1\r\nf\r\n$1\r\nv\r\n*1\r\n$4\r\nPING\r\n"
        ));
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
