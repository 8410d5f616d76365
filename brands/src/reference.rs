//! The reference page of a brand, made from its table.

use std::fmt::Write as _;

use crate::abi::Abi;
use crate::cond::Cond;
use crate::distro;
use crate::history;
use crate::proc;
use crate::table::{Answer, Brand, Row, Why};

/// The page in Markdown: what the brand is, then a line for every row; those that only refuse what a level did not have
/// yet stand in a table of their own, by call.
pub fn page(brand: &Brand) -> String {
    let mut out = format!("## {}\n\n{}.\n\n{}\n", brand.name, capital(brand.summary), brand.about);
    // Writing to a string does not fail.
    if let Some((oldest, newest)) = brand.levels {
        let _ = writeln!(out, "\nLevels: {oldest} to {newest}, or none for the host's own.");
    }
    if brand.rows().next().is_none() {
        return out;
    }
    out.push_str("\n| call | for | when | answer | what it does | gaps |\n|---|---|---|---|---|---|\n");
    let (mut young, rows): (Vec<&Row>, Vec<&Row>) =
        brand.rows().partition(|row| row.why == Some(Why::NotYet));
    for row in rows {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            row.name,
            whom(row),
            when(row),
            answer(row),
            row.about,
            row.gap.unwrap_or(""),
        );
    }
    if !young.is_empty() {
        out.push_str(YOUNG);
        young.sort_by_key(|row| (row.name, row.abi, row.before));
        for row in young {
            let _ = writeln!(out, "| `{}` | {} | {} | {} |", row.name, levels(row), when(row), error(row));
        }
    }
    out
}

const YOUNG: &str = "\n### What strict zones refuse\n\nFlags and operations that are younger than their call, with the \
                     error of the kernels before them. Whole calls are in [syscalls.md](syscalls.md).\n\n\
                     | call | for | when | error |\n|---|---|---|---|\n";

/// Pages of all brands under one heading.
fn book() -> String {
    let pages: Vec<_> = crate::table::all().iter().map(|brand| page(brand)).collect();
    format!(
        "# Brands\n\nWritten from the brands' tables by `cargo xtask docs`; change those.\n\n{}\n{}\n{}",
        pages.join("\n"),
        files(),
        distributions()
    )
}

/// The files of /proc that have a level's form.
fn files() -> String {
    let mut out = "## Files of /proc\n\nWhat zones of brand `linux` with a level see in place of the host's. Live ones are \
                   made anew at each opening.\n\n| file | live | what it does |\n|---|---|---|\n"
        .to_owned();
    for file in proc::all() {
        let live = if file.live { "yes" } else { "" };
        let _ = writeln!(out, "| `/proc/{}` | {live} | {} |", file.path, file.about);
    }
    out
}

/// The names that stand for levels.
fn distributions() -> String {
    let mut out = "## Distributions\n\nNames for `kernel = \"…\"` and `--kernel`, and what `uname -r` says \
                   on x86_64.\n\n| name | also | distribution | release |\n|---|---|---|---|\n"
        .to_owned();
    for distro in distro::ALL {
        let also = distro.aliases.join(", ");
        let _ =
            writeln!(out, "| `{}` | {also} | {} | {} |", distro.name, distro.title, distro.release("x86_64"));
    }
    out
}

/// Every page that the tables make: its name under docs/reference, and its text.
pub fn pages() -> [(&'static str, String); 2] {
    [("brands.md", book()), ("syscalls.md", syscalls())]
}

/// The history of every call, a table for each ABI.
fn syscalls() -> String {
    let mut out = "# System calls\n\nWhen each call came and went; a strict zone answers ENOSYS to those that its \
                   level does not have. Written\nby `cargo xtask docs` from brands/src/history/data.rs, which \
                   says where the facts are from. Releases before 2.0\nare 1.x; `never`: a number that was only \
                   set aside.\n"
        .to_owned();
    for abi in Abi::ALL {
        let _ = write!(
            out,
            "\n## {abi}\n\n| number | call | since | gone in | source |\n|---|---|---|---|---|\n"
        );
        for call in history::entries(abi) {
            let since = if call.never_was() { "never".to_owned() } else { call.since.to_string() };
            let until = call.until.filter(|_| !call.never_was()).map(|u| u.to_string()).unwrap_or_default();
            let _ = writeln!(out, "| {} | `{}` | {since} | {until} | {} |", call.nr, call.name, call.source);
        }
    }
    out
}

fn whom(row: &Row) -> String {
    let parts = [levels(row), row.scope.text().to_owned()];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "all".to_owned() } else { parts.join("; ") }
}

/// ABI and levels.
fn levels(row: &Row) -> String {
    let levels = match (row.since, row.before) {
        (None, None) => String::new(),
        (Some(since), None) => format!("from {since}"),
        (None, Some(before)) => format!("before {before}"),
        (Some(since), Some(before)) => format!("from {since}, before {before}"),
    };
    let parts = [row.abi.map(|abi| abi.to_string()).unwrap_or_default(), levels];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

fn when(row: &Row) -> String {
    match row.cond {
        Cond::Always => String::new(),
        // A bar would end the table's cell.
        cond => format!("`{}`", cond.to_string().replace('|', "\\|")),
    }
}

fn answer(row: &Row) -> String {
    row.why.map_or_else(|| error(row), |why| format!("{}: {}", error(row), why.text()))
}

fn error(row: &Row) -> String {
    match row.answer {
        Answer::Emulate(_) => "monitor".to_owned(),
        Answer::Refuse(errno) => format!("{errno:?}"),
        Answer::Succeed => "0".to_owned(),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn every_row_stands_on_the_page() {
        for brand in table::all() {
            let page = page(brand);
            let rows = page.lines().filter(|line| line.starts_with("| `")).count();
            assert_eq!(rows, brand.rows().count());
            let columns = |line: &str| line.matches(" |").count();
            let lines = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
            assert!(lines.map(columns).all(|columns| columns == 6 || columns == 4));
        }
        assert!(page(table::brand("linux").unwrap()).contains("| `stime` | i386 |"));
    }

    #[test]
    fn every_row_says_what_it_does() {
        for row in table::all().iter().flat_map(|brand| brand.rows()) {
            assert!(!row.about.is_empty(), "{}", row.name);
        }
    }
}
