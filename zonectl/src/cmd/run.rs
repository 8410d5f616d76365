//! `zonectl run`

use std::io::{self, Write};
use std::time::SystemTime;

use serde_json::{Value, json};
use zone_api::{ApiError, Edit, ErrorKind, Mark, Run};

use super::{Context, Done};
use crate::output::{Colour, Table, shown};
use crate::session::{self, End, Pty, Stdout, Younger};
use crate::words::{self, KeyValue};

/// Run one program in a zone that exists while it runs
///
/// Without --root it runs over the host's own files, read-only. Terminals, signals and the exit status are as with
/// login.
///
/// With --strict a call or flag that is younger than the level fails as it did then. At the end stderr has the calls
/// that needed a younger kernel, and the lowest level that has all that this run asked for. With --json too, stdout has
/// that as one document, and the program's own stdout goes to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl run --kernel 2.6.18 -- uname -r
  zonectl run --kernel 3.10 --strict -- ./a.out
  zonectl run --root tar:centos5-i386.tar.xz --bind .:/src hostname=builder -- make -C /src")]
pub(crate) struct Args {
    /// Brand [default: linux]
    #[arg(long, value_name = "BRAND")]
    brand: Option<String>,
    /// Kernel level, where the brand has levels
    #[arg(long, value_name = "V")]
    kernel: Option<String>,
    /// Refuse what the level did not have, and tell of it
    #[arg(long)]
    strict: bool,
    /// With --strict: fail (1) when the program did well but asked for what the level did not have
    #[arg(long, requires = "strict")]
    gate: bool,
    /// At the end tell on stderr what the zone's start and end took, step by step
    #[arg(long)]
    timings: bool,
    /// A source, as install takes it, or a folder
    #[arg(long, value_name = "SOURCE|DIR")]
    root: Option<String>,
    /// A path of the host that the program sees; several may be given
    #[arg(long, value_name = "SRC[:DST]")]
    bind: Vec<String>,
    /// Properties, as set takes them
    #[arg(value_name = "KEY=VALUE", help = "Properties, as set takes them; the program stands after --")]
    settings: Vec<KeyValue>,
    /// Program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let asked = now();
    let program = args.command.first().cloned().unwrap_or_default();
    let (strict, gate) = (args.strict, args.gate);
    let document = strict && context.output.is_json();
    let (pty, stdout) = if document { (Pty::Never, Stdout::Stderr) } else { (Pty::Fitting, Stdout::Ours) };
    let timings = args.timings;
    let run = request(args, pty)?;
    let session = context.client.run(&run)?;
    let what = format!("run {program}");
    let end = session::program_of_its_own_zone(&what, session, run.login.tty.is_some(), stdout)?;
    if timings {
        // Nobody is left to be told about a stderr that is gone.
        let _ = io::stderr().write_all(timeline(asked, end.marks.clone(), context).as_bytes());
    }
    let Some(younger) = end.younger.as_ref().filter(|_| strict) else { return Ok(end.status) };
    if document {
        context.output.document(&report(&end, younger))?;
    } else if !context.output.is_quiet() {
        // Nobody is left to be told about a stderr that is gone.
        let _ = io::stderr().write_all(shown(&summary(younger, context)).as_bytes());
    }
    if gate && end.status == 0 && !younger.entries.is_empty() {
        let why = format!("it asked for what {} did not have; {} has it", younger.level, younger.lowest);
        let error = ApiError::new(ErrorKind::Failed, what, why);
        // The document is out, and there is to be one.
        let _ = writeln!(io::stderr(), "zonectl: {error}");
        return Ok(error.kind.exit_code());
    }
    Ok(end.status)
}

/// Nanoseconds since 1970, as marks have them.
fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

/// The steps of a run from `asked` on: milliseconds of each, and since the first.
fn timeline(asked: u64, mut marks: Vec<Mark>, context: &Context<'_>) -> String {
    marks.push(Mark { step: "zonectl knows".to_owned(), at: now() });
    // Those of the monitor and of the zone's first process are done side by side.
    marks.sort_by_key(|mark| mark.at);
    let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
    if context.output.is_json() {
        let steps = marks.iter().map(|m| json!({"step": m.step, "ms": ms(asked, m.at)}));
        return format!("{}\n", json!({"timings": steps.collect::<Vec<_>>()}));
    }
    let mut table = Table::new(&["TOOK", "AT", "DONE"]);
    let mut before = asked;
    for mark in &marks {
        let cells =
            [format!("{:.3}", ms(before, mark.at)), format!("{:.3}", ms(asked, mark.at)), mark.step.clone()];
        table.row(cells.map(|cell| (cell, Colour::Plain)).to_vec());
        before = mark.at;
    }
    table.render(&context.output.for_stderr())
}

/// What a strict run came to, for people.
fn summary(younger: &Younger, context: &Context<'_>) -> String {
    let Younger { level, lowest, entries } = younger;
    if entries.is_empty() {
        return format!("zonectl: made no call younger than {level}\n");
    }
    let mut table = Table::new(&["CALL", "ABI", "NEEDS", "COUNT", "PROGRAM"]);
    for entry in entries {
        let needs = entry.needs.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [&entry.call, &entry.abi, &needs, &entry.count.to_string(), &entry.program];
        table.row(cells.map(|cell| (cell.clone(), Colour::Plain)).to_vec());
    }
    format!(
        "zonectl: made calls younger than {level}:\n{}the lowest level that has them all: {lowest}\n",
        table.render(&context.output.for_stderr())
    )
}

/// What a strict run came to, for programs.
fn report(end: &End, younger: &Younger) -> Value {
    let Younger { level, lowest, entries } = younger;
    let calls: Vec<_> = entries
        .iter()
        .map(|e| {
            json!({"call": e.call, "abi": e.abi, "needs": e.needs, "count": e.count, "program": e.program})
        })
        .collect();
    json!({
        "status": end.status,
        "signal": end.signal,
        "level": level,
        "younger": calls,
        "lowest_level": lowest,
        // It got what it asked for, or did well without.
        "would_run": entries.is_empty() || end.status == 0,
    })
}

fn request(args: Args, pty: Pty) -> Result<Run, crate::failure::Failure> {
    let set = |key: &str, value| Edit::Set { key: key.to_owned(), value };
    let edits = args
        .brand
        .map(|v| set("brand", v))
        .into_iter()
        .chain(args.kernel.map(|v| set("kernel", v)))
        .chain(args.strict.then(|| set("strict", "true".to_owned())))
        .chain(args.settings.into_iter().map(KeyValue::into_edit))
        .collect();
    let root = args.root.map(|r| words::source_or_folder(&r)).transpose()?;
    let binds = args.bind.iter().map(|b| words::bind(b)).collect::<Result<_, _>>()?;
    let login = session::request(None, args.command, pty);
    Ok(Run { edits, root, binds, login, timings: args.timings })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Run, clap::Error> {
        let words = [&["zonectl", "run"], words].concat();
        match crate::Cli::try_parse_from(words)?.verb {
            crate::cmd::Verb::Run(args) => Ok(request(args, Pty::Fitting).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_become_edits_before_the_settings() {
        let run = parsed(&[
            "--kernel",
            "2.6.18",
            "--strict",
            "--bind",
            "/a:/b",
            "hostname=x",
            "--brand",
            "linux",
            "--",
            "uname",
            "-r",
        ])
        .unwrap();
        let edits: Vec<String> = run
            .edits
            .iter()
            .map(|e| match e {
                Edit::Set { key, value } => format!("{key}={value}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(edits, ["brand=linux", "kernel=2.6.18", "strict=true", "hostname=x"]);
        assert_eq!(run.binds, ["/a:/b"]);
        assert_eq!(run.login.command, ["uname", "-r"]);
        assert_eq!(run.root, None);
    }

    #[test]
    fn the_program_stands_after_two_dashes() {
        assert!(parsed(&["uname"]).is_err());
        assert!(parsed(&["a=b"]).is_err());
        assert!(parsed(&["--"]).is_err());
    }
}
