//! When releases came out and what compiled them: what uname(2) `version` and /proc/version say.

use crate::level::Level;

/// A release, the day it came out (year, month, day), and a gcc of its time.
type Era = (Level, (u32, u32, u32), &'static str);

/// Sorted. A level between two is given the older one's day.
const ERAS: &[Era] = &[
    (Level::new(2, 0, 0), (1996, 6, 9), "2.7.2"),
    (Level::new(2, 0, 36), (1998, 11, 15), "2.7.2.3"),
    (Level::new(2, 2, 0), (1999, 1, 26), "2.7.2.3"),
    (Level::new(2, 2, 14), (2000, 1, 4), "egcs-2.91.66"),
    (Level::new(2, 4, 0), (2001, 1, 4), "2.95.2"),
    (Level::new(2, 4, 18), (2002, 2, 25), "2.95.4"),
    (Level::new(2, 4, 20), (2002, 11, 28), "3.2.2"),
    (Level::new(2, 6, 0), (2003, 12, 18), "3.3.2"),
    (Level::new(2, 6, 9), (2004, 10, 18), "3.4.3"),
    (Level::new(2, 6, 18), (2006, 9, 20), "4.1.2"),
    (Level::new(2, 6, 24), (2008, 1, 24), "4.2.3"),
    (Level::new(2, 6, 26), (2008, 7, 13), "4.1.3"),
    (Level::new(2, 6, 32), (2009, 12, 3), "4.4.5"),
    (Level::new(2, 6, 39), (2011, 5, 19), "4.5.2"),
    (Level::new(3, 0, 0), (2011, 7, 22), "4.6.1"),
    (Level::new(3, 2, 0), (2012, 1, 4), "4.6.3"),
    (Level::new(3, 10, 0), (2013, 6, 30), "4.8.2"),
    (Level::new(3, 13, 0), (2014, 1, 19), "4.8.2"),
    (Level::new(3, 16, 0), (2014, 8, 3), "4.8.4"),
    (Level::new(4, 0, 0), (2015, 4, 12), "4.9.2"),
    (Level::new(4, 4, 0), (2016, 1, 10), "5.3.1"),
    (Level::new(4, 9, 0), (2016, 12, 11), "6.3.0"),
    (Level::new(4, 14, 0), (2017, 11, 12), "7.3.0"),
    (Level::new(4, 19, 0), (2018, 10, 22), "8.3.0"),
    (Level::new(5, 4, 0), (2019, 11, 24), "9.3.0"),
    (Level::new(5, 10, 0), (2020, 12, 13), "10.2.1"),
    (Level::new(5, 15, 0), (2021, 10, 31), "11.2.0"),
    (Level::new(6, 1, 0), (2022, 12, 11), "12.2.0"),
    (Level::new(6, 6, 0), (2023, 10, 29), "13.2.0"),
    (Level::new(6, 12, 0), (2024, 11, 17), "14.2.0"),
    (Level::new(6, 18, 0), (2025, 11, 30), "15.2.0"),
];

/// uname(2) `version` at a level: `#1 SMP Wed Sep 20 00:00:00 UTC 2006`. Programs look for the
/// word SMP in it, as LinuxThreads does; 2.0 was built without.
pub(super) fn version(level: Level) -> String {
    let (year, month, day) = era(level).1;
    let smp = if level < Level::new(2, 2, 0) { "" } else { "SMP " };
    let weekday = weekday(year, month, day);
    let month = MONTHS[month as usize - 1];
    // date(1) pads the day with a blank, and the kernel's build took its output.
    format!("#1 {smp}{weekday} {month} {day:>2} 00:00:00 UTC {year}")
}

/// The gcc that /proc/version names at a level.
pub(super) fn gcc(level: Level) -> &'static str {
    era(level).2
}

fn era(level: Level) -> Era {
    let after = ERAS.partition_point(|(first, ..)| *first <= level);
    ERAS[after.saturating_sub(1)]
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// By Zeller's congruence.
fn weekday(year: u32, month: u32, day: u32) -> &'static str {
    let (year, month) = if month < 3 { (year - 1, month + 12) } else { (year, month) };
    let h = day + 13 * (month + 1) / 5 + year + year / 4 - year / 100 + year / 400;
    ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"][h as usize % 7]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_of_the_levels_time() {
        assert_eq!(version(Level::new(2, 6, 18)), "#1 SMP Wed Sep 20 00:00:00 UTC 2006");
        assert_eq!(version(Level::new(2, 6, 20)), "#1 SMP Wed Sep 20 00:00:00 UTC 2006");
        assert_eq!(version(Level::new(2, 0, 0)), "#1 Sun Jun  9 00:00:00 UTC 1996");
        assert_eq!(version(Level::new(6, 1, 50)), "#1 SMP Sun Dec 11 00:00:00 UTC 2022");
        assert_eq!(gcc(Level::new(3, 10, 0)), "4.8.2");
    }

    #[test]
    fn eras_are_sorted_and_versions_fit_uname() {
        assert!(ERAS.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1));
        for (level, ..) in ERAS {
            assert!(version(*level).len() <= 64);
        }
    }
}
