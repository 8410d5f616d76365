//! `~.` at the beginning of a line leaves a console, `~~` is one `~`.

/// Where in the input we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The next byte begins a line.
    LineStart,
    /// A line began with `~`, which was held back.
    Tilde,
    /// Elsewhere.
    Within,
}

/// The state between pieces of input.
#[derive(Debug)]
pub(super) struct Escape {
    at: At,
}

impl Escape {
    pub(super) fn new() -> Self {
        Self { at: At::LineStart }
    }

    /// Adds to `out` what goes to the zone; true when the user leaves, and what follows is not for the zone.
    pub(super) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for &byte in input {
            match (self.at, byte) {
                (At::Tilde, b'.') => return true,
                (At::LineStart, b'~') => {
                    self.at = At::Tilde;
                    continue;
                }
                (At::Tilde, b'~') | (At::LineStart | At::Within, _) => {}
                (At::Tilde, _) => out.push(b'~'),
            }
            out.push(byte);
            self.at = if matches!(byte, b'\r' | b'\n') { At::LineStart } else { At::Within };
        }
        false
    }

    /// What is still held back at the end of the input.
    pub(super) fn rest(&self) -> &'static [u8] {
        if self.at == At::Tilde { b"~" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds as a whole and byte by byte, which must make no difference.
    fn fed(input: &str) -> (String, bool) {
        let mut outcomes = [1, input.len().max(1)].map(|size| {
            let (mut escape, mut out) = (Escape::new(), Vec::new());
            let left = input.as_bytes().chunks(size).any(|piece| escape.feed(piece, &mut out));
            if !left {
                out.extend_from_slice(escape.rest());
            }
            (String::from_utf8(out).unwrap(), left)
        });
        assert_eq!(outcomes[0], outcomes[1]);
        std::mem::take(&mut outcomes[0])
    }

    #[test]
    fn only_at_the_beginning_of_a_line() {
        assert_eq!(fed("~."), (String::new(), true));
        assert_eq!(fed("ls\r~.rest"), ("ls\r".into(), true));
        assert_eq!(fed("ls\n~."), ("ls\n".into(), true));
        assert_eq!(fed("cd ~.\r"), ("cd ~.\r".into(), false));
        assert_eq!(fed("a~.\n"), ("a~.\n".into(), false));
    }

    #[test]
    fn tildes_that_are_meant() {
        assert_eq!(fed("~~\r"), ("~\r".into(), false));
        assert_eq!(fed("~~."), ("~.".into(), false));
        assert_eq!(fed("~/bin/x\r~."), ("~/bin/x\r".into(), true));
        assert_eq!(fed("~\r~."), ("~\r".into(), true));
        assert_eq!(fed("~"), ("~".into(), false));
        assert_eq!(fed(""), (String::new(), false));
    }
}
