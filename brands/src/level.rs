//! Kernel releases that a zone can be told it runs on.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A kernel release: 2.6.18, 3.10, 6.1. Ordered; a missing last number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// As in 2.6.18: 2, 6, 18.
    pub parts: [u16; 3],
}

/// Why a text is no level.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LevelError {
    /// Not numbers with dots between them.
    #[error("{text:?} is not a kernel release such as 2.6.18, 3.10 or 2.6.32-754.el6.x86_64")]
    Syntax {
        /// What was given.
        text: String,
    },
    /// A word that is no distribution's name.
    #[error("{text:?} is neither a kernel release nor a distribution known here; near it: {near}")]
    Name {
        /// What was given.
        text: String,
        /// Names to choose from.
        near: String,
    },
    /// Longer than uname(2) can show.
    #[error("kernel release {text:?} is longer than the 64 bytes that uname has room for")]
    Long {
        /// What was given.
        text: String,
    },
    /// Older than what the brands know.
    #[error("kernel release {text} is older than {OLDEST}, the oldest level")]
    TooOld {
        /// What was given.
        text: String,
    },
    /// A development series.
    #[error(
        "{text} belongs to a development series; the stable releases next to it are {before} and {after}"
    )]
    Development {
        /// What was given.
        text: String,
        /// The last stable release before that series.
        before: Level,
        /// The first stable release after it.
        after: Level,
    },
    /// Never released.
    #[error("there is no kernel release {text}; the nearest is {nearest}")]
    Unknown {
        /// What was given.
        text: String,
        /// The last release that exists below it.
        nearest: Level,
    },
}

/// The oldest level.
pub const OLDEST: Level = Level::new(2, 0, 0);

/// The last release of every series with three numbers: 2.0.40, and so on. A series between two of
/// these was for development.
const LAST_OF_2: &[(u16, u16)] = &[(0, 40), (2, 26), (4, 37), (6, 39)];

/// The last release of every later series: 3.19, and so on. The newest one grows.
const LAST_SINCE_3: &[(u16, u16)] = &[(3, 19), (4, 20), (5, 19), (6, 19), (7, 2)];

/// What uname(2) has room for: 64 bytes and a NUL.
const RELEASE_MAX: usize = 64;

impl Level {
    /// The level `a.b.c`, for tables; not checked against the releases that exist.
    pub const fn new(a: u16, b: u16, c: u16) -> Self {
        Self { parts: [a, b, c] }
    }

    /// Its three numbers.
    pub const fn numbers(self) -> [u16; 3] {
        self.parts
    }

    /// The newest level.
    pub const fn newest() -> Self {
        let (major, minor) = LAST_SINCE_3[LAST_SINCE_3.len() - 1];
        Self::new(major, minor, 0)
    }

    /// Reads a level with what a distribution adds to it: `2.6.32-754.el6.x86_64` is level 2.6.32,
    /// and the whole text is the `release` that uname(2) shows.
    pub fn parse_release(text: &str) -> Result<(Self, String), LevelError> {
        let level = parse(text)?;
        level.check(text)?;
        Ok((level, text.to_owned()))
    }

    /// The release in a running kernel's uname(2), whatever a distribution adds to it; a kernel newer
    /// than the newest level, or one that says nothing of use, is taken for that one.
    pub fn of_host(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u16>);
        let mut next = || numbers.next().and_then(Result::ok);
        match (next(), next()) {
            (Some(major), Some(minor)) => Self::new(major, minor, next().unwrap_or(0)).min(Self::newest()),
            _ => Self::newest(),
        }
    }

    fn check(self, text: &str) -> Result<(), LevelError> {
        let [major, minor, patch] = self.parts;
        if self < OLDEST {
            return Err(LevelError::TooOld { text: text.to_owned() });
        }
        let unknown = |nearest| Err(LevelError::Unknown { text: text.to_owned(), nearest });
        if major == 2 {
            return match LAST_OF_2.iter().find(|(series, _)| *series >= minor) {
                None => unknown(Self::new(2, 6, 39)),
                Some(&(series, last)) if series == minor => {
                    if patch <= last {
                        Ok(())
                    } else {
                        unknown(Self::new(2, series, last))
                    }
                }
                Some(&(series, _)) => {
                    let before = LAST_OF_2.iter().rfind(|(earlier, _)| *earlier < minor);
                    let before = before.map_or(OLDEST, |&(s, last)| Self::new(2, s, last));
                    let after = Self::new(2, series, 0);
                    Err(LevelError::Development { text: text.to_owned(), before, after })
                }
            };
        }
        match LAST_SINCE_3.iter().find(|(series, _)| *series == major) {
            None => unknown(Self::newest()),
            Some(&(_, last)) if minor > last => unknown(Self::new(major, last, 0)),
            Some(_) => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Level, LevelError> {
    let syntax = || LevelError::Syntax { text: text.to_owned() };
    if text.len() > RELEASE_MAX {
        return Err(LevelError::Long { text: text.to_owned() });
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(syntax());
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (numbers, suffix) = text.split_at(end);
    if !(suffix.is_empty() || suffix.starts_with(['-', '+', '_', '~'])) {
        return Err(syntax());
    }
    let mut parts = [0u16; 4];
    let mut count = 0;
    for number in numbers.split('.') {
        let slot = parts.get_mut(count).ok_or_else(syntax)?;
        // `from_str` would take a sign, which cannot stand here, and no empty text.
        *slot = number.parse().map_err(|_| syntax())?;
        count += 1;
    }
    let [a, b, c, _] = parts;
    // Only 2.6 had stable releases with a fourth number: 2.6.16.60.
    let most = if (a, b) == (2, 6) { 4 } else { 3 };
    if !(2..=most).contains(&count) {
        return Err(syntax());
    }
    Ok(Level::new(a, b, c))
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        Self::parse_release(text).map(|(level, _)| level)
    }
}

/// 2.6.18 and 2.6.0, since those series always had three numbers; 3.10, not 3.10.0.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.parts;
        if a >= 3 && c == 0 { write!(f, "{a}.{b}") } else { write!(f, "{a}.{b}.{c}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(text: &str) -> Result<Level, LevelError> {
        text.parse()
    }

    #[test]
    fn releases_that_exist() {
        for (text, parts, shown) in [
            ("2.6.18", [2, 6, 18], "2.6.18"),
            ("2.0.36", [2, 0, 36], "2.0.36"),
            ("2.4", [2, 4, 0], "2.4.0"),
            ("3.10", [3, 10, 0], "3.10"),
            ("3.10.0", [3, 10, 0], "3.10"),
            ("6.1.2", [6, 1, 2], "6.1.2"),
            ("2.6.16.60-0.21-smp", [2, 6, 16], "2.6.16"),
            ("4.19.0+", [4, 19, 0], "4.19"),
        ] {
            let level = level(text).unwrap();
            assert_eq!(level.parts, parts, "{text}");
            assert_eq!(level.to_string(), shown);
            assert_eq!(shown.parse::<Level>().unwrap(), level);
        }
        assert_eq!(level("7.2").unwrap(), Level::newest());
    }

    #[test]
    fn a_distribution_release_is_kept_as_typed() {
        let (level, release) = Level::parse_release("2.6.32-754.el6.x86_64").unwrap();
        assert_eq!(level, Level::new(2, 6, 32));
        assert_eq!(release, "2.6.32-754.el6.x86_64");
    }

    #[test]
    fn a_hosts_release_is_read_whatever_follows_it() {
        for (text, shown) in [
            ("6.18.5-cloud-amd64", "6.18.5"),
            ("5.10.0-30-cloud-amd64", "5.10"),
            ("6.1", "6.1"),
            ("6.19+", "6.19"),
            ("99.1.0", "7.2"),
            ("next", "7.2"),
        ] {
            assert_eq!(Level::of_host(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn order_is_by_age() {
        let mut sorted = ["2.0.40", "2.2.0", "2.6.9", "2.6.18", "3.2", "3.10", "4.4", "6.1"];
        let typed = sorted;
        sorted.reverse();
        sorted.sort_by_key(|text| level(text).unwrap());
        assert_eq!(sorted, typed);
    }

    #[test]
    fn releases_that_do_not_exist() {
        let nearest = |text| match level(text) {
            Err(LevelError::Unknown { nearest, .. }) => nearest.to_string(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(nearest("2.6.99"), "2.6.39");
        assert_eq!(nearest("2.7"), "2.6.39");
        assert_eq!(nearest("2.0.41"), "2.0.40");
        assert_eq!(nearest("3.25"), "3.19");
        assert_eq!(nearest("9.9"), Level::newest().to_string());
        assert!(matches!(level("1.2.13"), Err(LevelError::TooOld { .. })));
        match level("2.5.30") {
            Err(LevelError::Development { before, after, .. }) => {
                assert_eq!((before, after), (Level::new(2, 4, 37), Level::new(2, 6, 0)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn texts_that_are_no_release() {
        for text in [
            "",
            "2",
            "2.",
            ".6",
            "2..6",
            "two",
            "2.6.x",
            "-2.6",
            "+2.6",
            "2.6.18 ",
            "3.10.0.1",
            "2.6.1.2.3",
            "70000.1",
            "2.6.32\n",
            "3.10é",
        ] {
            assert!(matches!(level(text), Err(LevelError::Syntax { .. })), "{text:?}");
        }
        let long = format!("2.6.18-{}", "x".repeat(60));
        assert!(matches!(level(&long), Err(LevelError::Long { .. })));
    }

    #[test]
    fn errors_say_what_to_type_instead() {
        let said = |text| level(text).unwrap_err().to_string();
        assert_eq!(said("2.6.99"), "there is no kernel release 2.6.99; the nearest is 2.6.39");
        assert_eq!(
            said("2.5.30"),
            "2.5.30 belongs to a development series; the stable releases next to it are 2.4.37 and 2.6.0"
        );
        assert_eq!(said("1.2.13"), "kernel release 1.2.13 is older than 2.0.0, the oldest level");
    }
}
