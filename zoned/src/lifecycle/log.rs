//! zones/NAME/log: what happened to a zone, one JSON document a line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zone_api::LogLine;

use crate::state;

/// Bytes at which a log becomes log.1 and begins anew; so two of these are the most it takes.
const LONGEST: u64 = 1 << 20;

/// Adds a line to the log in `folder`.
///
/// # Errors
/// As the calls have them.
pub(crate) fn append(folder: &Path, text: &str) -> io::Result<()> {
    let path = folder.join("log");
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() >= LONGEST) {
        std::fs::rename(&path, folder.join("log.1"))?;
    }
    let mut line = serde_json::to_vec(&LogLine { time: state::now(), text: text.to_owned() })?;
    line.push(b'\n');
    // One write, so that lines of two writers do not mix.
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    let before = file.metadata()?.len();
    file.write_all(&line).inspect_err(|_| {
        // On a full disk a part of it may be there, which would spoil the next line.
        file.set_len(before).ok();
    })
}

/// All lines, oldest first. A line that a crash cut off is left out.
///
/// # Errors
/// When a log is there and cannot be read.
pub(crate) fn read(folder: &Path) -> io::Result<Vec<LogLine>> {
    let mut lines = Vec::new();
    for name in ["log.1", "log"] {
        match std::fs::read(folder.join(name)) {
            Ok(bytes) => lines.extend(
                bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()),
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_order_and_the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        append(dir.path(), "created").unwrap();
        std::fs::write(dir.path().join("log.1"), "{\"time\":1,\"text\":\"old\"}\n{\"time\":1,\"te").unwrap();
        let texts: Vec<String> = read(dir.path()).unwrap().into_iter().map(|line| line.text).collect();
        assert_eq!(texts, ["old", "created"]);
        let long = "x".repeat(LONGEST as usize / 4);
        for _ in 0..20 {
            append(dir.path(), &long).unwrap();
        }
        let size = |name| std::fs::metadata(dir.path().join(name)).unwrap().len();
        assert!(size("log") + size("log.1") < 3 * LONGEST);
        append(dir.path(), "last").unwrap();
        assert_eq!(read(dir.path()).unwrap().last().unwrap().text, "last");
    }
}
