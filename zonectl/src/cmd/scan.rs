//! `zonectl scan`

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use ::scan::{Kind, Report, Tally};
use indicatif::ProgressBar;
use zone_api::{ApiError, ErrorKind};

use super::{Context, Done};
use crate::output::{Colour, Table};

/// Say what a program, a folder or an archive is made for
///
/// ABI, C library, the kernel that it needs, the level and distribution that fit, and what this host lacks for
/// it. Nothing of it is run, and zoned is not asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl scan /srv/old/usr/bin/report
  zonectl scan centos5-i386.tar.xz
  zonectl scan --json /srv/old")]
pub(crate) struct Args {
    /// File, folder, or tar archive (plain, gz, xz or zst)
    path: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let seen = io::stderr().is_terminal() && !context.output.is_quiet();
    let bar = if seen { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.enable_steady_tick(Duration::from_millis(100));
    let report = ::scan::scan(&args.path, &mut |files| bar.set_message(format!("{files} files")));
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        let why = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
        ApiError::new(ErrorKind::Failed, format!("scan {}", args.path.display()), why)
    })?;
    context.output.print(&report, || {
        let mut table = Table::new(&[]);
        for (what, colour, text) in lines(&report) {
            table.row(vec![(what.to_owned(), Colour::Bold), (text, colour)]);
        }
        table.render(context.output)
    })?;
    Ok(0)
}

type Line = (&'static str, Colour, String);

fn lines(report: &Report) -> Vec<Line> {
    let plain = |what, text| (what, Colour::Plain, text);
    let mut lines = vec![plain("path", format!("{} ({})", report.path, report.kind))];
    match &report.program {
        Some(program) => lines.extend(of_file(program)),
        None => {
            let abis = report.abis.iter().map(|(abi, count)| format!("{count} {abi}"));
            let abis = join(abis);
            let abis = if abis.is_empty() { "none".to_owned() } else { abis };
            lines.push(plain("ELF files", format!("{abis}, of {} files", report.files)));
            lines.extend(tally("static", &report.statics));
            lines.extend(tally("a.out", &report.aout));
            lines.push(plain("scripts", report.scripts.to_string()));
            let libcs = report.libcs.iter().map(|libc| named(libc.name, libc.version));
            lines.push(plain("C libraries", join(libcs)));
            let needs = report.needs_libc.iter().map(|(name, count)| format!("{name} by {count}"));
            lines.push(plain("needed", join(needs)));
            lines.extend(tally("vsyscall", &report.vsyscall));
            lines.extend(tally("damaged", &report.damaged));
            lines.extend(tally("not looked at", &report.skipped));
        }
    }
    let releases =
        report.releases.iter().map(|found| plain("release", format!("{}: {}", found.file, found.text)));
    lines.extend(releases);
    let need = |need: &::scan::Need| format!("{}, by {} of {}", need.release, need.what, need.path);
    lines.extend(report.lowest.as_ref().map(|it| plain("needs at least", need(it))));
    lines.extend(report.youngest.as_ref().map(|it| plain("youngest call", need(it))));
    lines.push(match &report.fit {
        Some(fit) => {
            let name = fit.distribution.map(|name| format!(" ({name})")).unwrap_or_default();
            ("fits", Colour::Green, format!("kernel={}{name}, by {}", fit.kernel, fit.by))
        }
        None => plain("fits", "nothing says its age: the host's own level".to_owned()),
    });
    let lacks = report.lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.remedy));
    lines.extend(lacks.map(|text| ("host lacks", Colour::Yellow, text)));
    lines.retain(|(_, _, text)| !text.is_empty());
    lines
}

fn of_file(kind: &Kind) -> Vec<Line> {
    let program = match kind {
        Kind::AOut { magic } => return vec![("format", Colour::Plain, format!("a.out, {magic}"))],
        Kind::Script { interpreter } => return vec![("script of", Colour::Plain, interpreter.clone())],
        Kind::Elf(program) => program,
    };
    let libc = program.libc.as_ref().map(|libc| named(libc.name, libc.version)).unwrap_or_default();
    let symbols = program.symbols.iter().map(|(set, version)| format!("{set}_{version}"));
    let mut lines = vec![
        ("format", format!("ELF, {}, {:?}", program.abi, program.linkage).to_lowercase()),
        ("interpreter", program.interpreter.clone().unwrap_or_default()),
        ("C library", libc),
        ("libraries", program.needed.join(", ")),
        ("symbols up to", join(symbols)),
    ];
    if program.vsyscall.is_used() {
        let text = format!("{} calls, {} pointers", program.vsyscall.calls, program.vsyscall.pointers);
        lines.push(("vsyscall", text));
    }
    if let Some(calls) = &program.calls {
        lines.push(("calls", join(calls.known.iter().cloned())));
        lines.push(("not understood", format!("{} calls", calls.not_understood)));
    }
    lines.into_iter().map(|(what, text)| (what, Colour::Plain, text)).collect()
}

fn named(name: &str, version: Option<::scan::Version>) -> String {
    version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}"))
}

fn tally(what: &'static str, tally: &Tally) -> Option<Line> {
    let first = tally.first.as_ref()?;
    let text = if tally.count == 1 { first.clone() } else { format!("{}, the first {first}", tally.count) };
    Some((what, Colour::Plain, text))
}

fn join(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(", ")
}
