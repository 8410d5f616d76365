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
    Part { program: "boots", title: "A Debian from boot to its login prompt", words: &["5"] },
    Part { program: "many", title: "Many zones", words: &["100"] },
    Part { program: "overhead", title: "Programs that no brand answers", words: &["7"] },
    Part { program: "handlers", title: "Calls that the brand answers", words: &[] },
    Part { program: "clones", title: "Clones", words: &["1000"] },
    Part { program: "unpacking", title: "Images that come in", words: &[] },
    Part { program: "neighbours", title: "A neighbour at its limit", words: &["5"] },
];

/// Runs those named, or all; writes the page where it was all.
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
    let mut page = head()?;
    for part in PARTS.iter().filter(|part| wanted.is_empty() || wanted.contains(&part.program)) {
        let path = crate::top().join("target/release").join(part.program);
        eprintln!("{}: {}", part.program, part.title);
        let output =
            Command::new(&path).args(part.words).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("run {}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        let line = [&["target/release", part.program].join("/")[..]]
            .into_iter()
            .chain(part.words.iter().copied())
            .collect::<Vec<_>>()
            .join(" ");
        write!(page, "## {}\n\n```console\n# {line}\n{}\n```\n\n", part.title, text.trim())?;
        if !output.status.success() {
            writeln!(page, "It ended with {}.\n", output.status)?;
        }
    }
    if wanted.is_empty() {
        let path = crate::top().join("docs/benchmarks.md");
        fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// What stands above the figures: how they came to be, and where.
fn head() -> Result<String> {
    let line = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output();
        output.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`, which builds the programs below, installs the peers from Debian's packages, and \
         lets all of them take turns. What a program measures is said at the top of its source in `tests/src/bin`.\n\n",
    );
    writeln!(page, "* {count} processors, {}", model.trim_start_matches([' ', '\t', ':']))?;
    writeln!(page, "* Linux {}", line("uname", &["-r"]))?;
    for package in ["bubblewrap", "crun", "runc", "lxc", "systemd-container", "podman", "proot", "umoci"] {
        let version = line("dpkg-query", &["-W", "-f", "${Version}", package]);
        writeln!(page, "* {package} {version}")?;
    }
    page.push('\n');
    Ok(page)
}
