//! Makes the headers of a tar archive: ustar, and a pax header before it where ustar cannot say all (pax(1)).

use super::archive::BLOCK;

/// Octal digits that a field of 12 bytes holds.
const OCTAL_12: u64 = (1 << 33) - 1;

/// What a header says.
pub(super) struct Head<'a> {
    /// typeflag: `0` a file, `1` a hard link, `2` a link, `3` and `4` devices, `5` a folder, `6` a fifo.
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    /// Up to 2097151.
    pub(super) uid: u32,
    /// The same.
    pub(super) gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, u32),
    /// Bytes of data that follow.
    pub(super) size: u64,
    /// Major and minor number.
    pub(super) device: (u32, u32),
}

/// The records of a pax header.
#[derive(Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Adds `LENGTH KEY=VALUE\n`, whose length counts itself.
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while rest + digits(len) != len {
            len = rest + digits(len);
        }
        self.0.extend_from_slice(len.to_string().as_bytes());
        for part in [b" ", key, b"=", value, b"\n"] {
            self.0.extend_from_slice(part);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The blocks to put before the data.
pub(super) fn blocks(head: &Head<'_>, records: Records) -> Vec<u8> {
    let mut all = Records::default();
    let split = split(head.name);
    let plain = |text: &[u8]| text.is_ascii();
    // Text in a pax header is UTF-8 unless this says that it is just bytes.
    if [head.name, head.link].iter().any(|text| std::str::from_utf8(text).is_err()) {
        all.push(b"hdrcharset", b"BINARY");
    }
    if split.is_none() || !plain(head.name) {
        all.push(b"path", head.name);
    }
    if head.link.len() > 100 || !plain(head.link) {
        all.push(b"linkpath", head.link);
    }
    if head.size > OCTAL_12 {
        all.push(b"size", head.size.to_string().as_bytes());
    }
    let (seconds, nanos) = head.mtime;
    if nanos != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= OCTAL_12) {
        all.push(b"mtime", time(seconds, nanos).as_bytes());
    }
    all.0.extend(records.0);
    let mut out = Vec::new();
    if !all.0.is_empty() {
        let last = head.name.trim_ascii_end().rsplit(|b| *b == b'/').find(|part| !part.is_empty());
        let name = [b"PaxHeaders.0/", cut(last.unwrap_or(b"x"), 87)].concat();
        let about = Head {
            kind: b'x',
            name: &name,
            link: b"",
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size: all.0.len() as u64,
            device: (0, 0),
        };
        out.extend_from_slice(&block(&about, (b"", &name)));
        out.extend_from_slice(&all.0);
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
    }
    out.extend_from_slice(&block(head, split.unwrap_or((b"", cut(head.name, 100)))));
    out
}

fn cut(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

/// Prefix and name, where they fit the header.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The first slash after which no more than 100 bytes are left, and not one at the very end.
    let from = name.len() - 101;
    let at = from + name[from..name.len() - 1].iter().position(|b| *b == b'/')?;
    (1..=155).contains(&at).then(|| (&name[..at], &name[at + 1..]))
}

fn block(head: &Head<'_>, (prefix, name): (&[u8], &[u8])) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}").into_bytes();
    put(0, name);
    put(100, &octal(u64::from(head.mode & 0o7777), 7));
    put(108, &octal(u64::from(head.uid), 7));
    put(116, &octal(u64::from(head.gid), 7));
    // What does not fit stands in the pax header.
    put(124, &octal(if head.size > OCTAL_12 { 0 } else { head.size }, 11));
    put(136, &octal(u64::try_from(head.mtime.0).unwrap_or(0).min(OCTAL_12), 11));
    put(148, b"        ");
    put(156, &[head.kind]);
    put(157, cut(head.link, 100));
    put(257, b"ustar\x0000");
    put(329, &octal(u64::from(head.device.0), 7));
    put(337, &octal(u64::from(head.device.1), 7));
    put(345, prefix);
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// `[-]SECONDS[.FRACTION]` of a time whose nanoseconds count forward.
fn time(seconds: i64, nanos: u32) -> String {
    let (sign, whole, nanos) = match (seconds < 0, nanos) {
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, nanos) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (false, nanos) => ("", seconds.unsigned_abs(), nanos),
    };
    let text = format!("{sign}{whole}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::field;

    #[test]
    fn records_count_their_own_length() {
        // 8 bytes with one digit, 98 with two, and lengths that themselves need another digit.
        for len in (0..120).chain(980..1010).chain(9980..10010) {
            let mut records = Records::default();
            records.push(b"key", &vec![b'v'; len]);
            assert_eq!(field::records(&records.0).unwrap(), [(b"key".to_vec(), vec![b'v'; len])], "{len}");
        }
    }

    #[test]
    fn times_come_back() {
        for (seconds, nanos) in [(0, 0), (1, 5), (-1, 0), (-1, 999_999_999), (-2, 500_000_000), (i64::MAX, 1)]
        {
            let text = time(seconds, nanos);
            assert_eq!(field::time(text.as_bytes()), Some((seconds, nanos)), "{text}");
        }
        assert_eq!(time(-2, 500_000_000), "-1.5");
        assert_eq!(time(-1, 500_000_000), "-0.5");
    }

    #[test]
    fn names_are_split_where_they_can_be() {
        let long = [vec![b'a'; 90], vec![b'b'; 90]].join(&b'/');
        assert_eq!(split(&long), Some((&long[..90], &long[91..])));
        for whole in [
            vec![b'a'; 101],
            [vec![b'a'; 100], vec![]].join(&b'/'),
            [vec![b'a'; 160], b"b".to_vec()].join(&b'/'),
        ] {
            assert_eq!(split(&whole), None);
        }
        assert_eq!(split(b"short"), Some((&b""[..], &b"short"[..])));
    }
}
