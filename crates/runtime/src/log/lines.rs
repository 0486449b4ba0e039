//! Cutting a stream of bytes into lines.
//!
//! Rules: cloudfoundry/executor:depot/log_streamer. Lines end at `\n`, a `\r` before it goes with it, empty lines are
//! dropped, long ones are cut on a character's border.

/// The longest line, bytes.
pub const LONGEST_LINE: usize = 61_440;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes what was read and hands each finished line to `emit`.
    pub fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let (piece, rest, ended) = match bytes.iter().position(|byte| *byte == b'\n') {
                Some(at) => {
                    let (piece, rest) = bytes.split_at(at);
                    (piece, rest.get(1..).unwrap_or_default(), true)
                }
                None => (bytes, &[][..], false),
            };
            self.pending.extend_from_slice(piece);
            while self.pending.len() > LONGEST_LINE {
                let border = border(&self.pending);
                let rest = self.pending.split_off(border);
                emit(&std::mem::replace(&mut self.pending, rest));
            }
            if ended {
                self.flush(&mut emit);
            }
            bytes = rest;
        }
    }

    /// Hands out the unfinished line, as at the end of the stream.
    pub fn flush(&mut self, mut emit: impl FnMut(&[u8])) {
        let line = self.pending.strip_suffix(b"\r").unwrap_or(&self.pending);
        if !line.is_empty() {
            emit(line);
        }
        self.pending.clear();
    }
}

/// Where to cut a line that is too long: before the character that would cross the limit, or at the limit when the
/// bytes there are no UTF-8.
fn border(line: &[u8]) -> usize {
    let continues = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
    (LONGEST_LINE - 3..=LONGEST_LINE)
        .rev()
        .find(|at| !continues(at))
        .unwrap_or(LONGEST_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut got) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.feed(chunk, |line| got.push(line.to_vec()));
        }
        lines.flush(|line| got.push(line.to_vec()));
        got
    }

    #[test]
    fn lines_are_cut_at_their_ends_wherever_the_chunks_end() {
        assert_eq!(
            lines(&[b"a\nb", b"c\r\n", b"\n\r\n", b"tail"]),
            [&b"a"[..], b"bc", b"tail"]
        );
        assert_eq!(lines(&[b"a\rb\n"]), [b"a\rb"]);
    }

    #[test]
    fn long_lines_are_cut_on_borders_of_characters() {
        let text = format!("x{}", "é".repeat(LONGEST_LINE));
        let got = lines(&[text.as_bytes()]);
        assert_eq!(got.concat(), text.as_bytes());
        assert!(
            got.iter()
                .all(|line| line.len() <= LONGEST_LINE && std::str::from_utf8(line).is_ok())
        );
        let bytes = vec![0x80; 2 * LONGEST_LINE];
        assert_eq!(lines(&[&bytes]).len(), 2);
        let exact = vec![b'x'; LONGEST_LINE];
        assert_eq!(lines(&[&exact, b"\ny"]).len(), 2);
    }
}
