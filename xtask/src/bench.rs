//! `cargo xtask bench`: what zones cost beside others that do the same, in one page.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program of `tests/src/bin`, what it shows, and its words.
struct Part {
    program: &'static str,
    title: &'static str,
    words: &'static [&'static str],
}

const PARTS: [Part; 8] = [
    Part { program: "starts", title: "One program, and entering a zone", words: &["40"] },
    Part { program: "boots", title: "From boot to the login prompt", words: &["5"] },
    Part { program: "many", title: "Many zones", words: &["500"] },
    Part { program: "overhead", title: "Programs that no brand answers", words: &["5"] },
    Part { program: "handlers", title: "Calls that the brand answers", words: &[] },
    Part { program: "clones", title: "Clones", words: &["1000"] },
    Part { program: "unpacking", title: "Images that come in", words: &[] },
    Part { program: "neighbours", title: "A neighbour at its limit", words: &["5"] },
];

/// Runs those named, or all, and puts what they print in the place of what the page has of them.
pub(crate) fn run(wanted: &[&str]) -> Result<()> {
    crate::be_root()?;
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.iter().any(|part| part.program == **name)) {
        let names: Vec<&str> = PARTS.iter().map(|part| part.program).collect();
        bail!("no benchmark is called {unknown}; there are {}", names.join(", "));
    }
    crate::packages::for_bench()?;
    let status = crate::cargo().args(["build", "--release", "--workspace", "--bins"]).status();
    if !status.context("run cargo build")?.success() {
        bail!("cargo build --release failed");
    }
    let path = crate::top().join("docs/benchmarks.md");
    for part in PARTS.iter().filter(|part| wanted.is_empty() || wanted.contains(&part.program)) {
        let section = part.measure()?;
        let old = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, page(&head()?, &old, part, &section))
            .with_context(|| format!("write {}", path.display()))?;
    }
    println!("wrote {}", path.display());
    Ok(())
}

impl Part {
    fn heading(&self) -> String {
        format!("## {}\n", self.title)
    }

    /// Runs it; its section of the page.
    fn measure(&self) -> Result<String> {
        let path = crate::top().join("target/release").join(self.program);
        eprintln!("{}: {}", self.program, self.title);
        let mut command = Command::new(&path);
        let output = command.args(self.words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("run {}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        let line = [&[self.program], self.words].concat().join(" ");
        let day = said("date", &["-u", "+%F"]);
        let mut section = format!(
            "{}\nMeasured on {day}.\n\n```console\n# target/release/{line}\n{}\n```\n",
            self.heading(),
            text.trim()
        );
        if !output.status.success() {
            writeln!(section, "\nIt ended with {}.", output.status)?;
        }
        Ok(section)
    }
}

/// The page with a new section of one part, and of the others what it had.
fn page(head: &str, old: &str, part: &Part, section: &str) -> String {
    let had = |other: &Part| {
        let (_, rest) = old.split_once(&other.heading())?;
        let end = rest.find("\n## ").map_or(rest.len(), |at| at + 1);
        Some(other.heading() + rest[..end].trim_end() + "\n")
    };
    let new = |other: &Part| {
        if other.program == part.program { Some(section.to_owned()) } else { had(other) }
    };
    let sections: Vec<String> = PARTS.iter().filter_map(new).collect();
    format!("{head}{}", sections.join("\n"))
}

/// What a program prints; nothing where it is not there.
fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default()
}

/// What stands above the figures: how they came to be, and where.
fn head() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`, which builds the programs below, installs the peers from Debian's packages, and \
         lets all of them take turns. What a program measures is said at the top of its source in `tests/src/bin`.\n\n",
    );
    writeln!(page, "* {count} processors, {}", model.trim_start_matches([' ', '\t', ':']))?;
    writeln!(page, "* Linux {}", said("uname", &["-r"]))?;
    for package in
        ["bubblewrap", "crun", "runc", "lxc", "systemd-container", "podman", "containerd", "proot", "umoci"]
    {
        let version = said("dpkg-query", &["-W", "-f", "${Version}", package]);
        writeln!(page, "* {package} {version}")?;
    }
    page.push('\n');
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_measured_again_and_the_others_stay() {
        let [first, second] = [&PARTS[0], &PARTS[1]];
        let section = |part: &Part, figure: u32| format!("{}\n```console\n{figure}\n```\n", part.heading());
        let one = page("# head\n\n", "", second, &section(second, 1));
        assert_eq!(one, format!("# head\n\n{}", section(second, 1)));
        let both = page("# head\n\n", &one, first, &section(first, 2));
        assert_eq!(both, format!("# head\n\n{}\n{}", section(first, 2), section(second, 1)));
        let again = page("# later\n\n", &both, second, &section(second, 3));
        assert_eq!(again, format!("# later\n\n{}\n{}", section(first, 2), section(second, 3)));
    }
}
