//! `zonectl run`

use zone_api::{Edit, Run};

use super::{Context, Done};
use crate::session::{self, Pty};
use crate::words::{self, KeyValue};

/// Run one program in a zone that exists while it runs
///
/// Without --root it runs over the host's own files, read-only. Terminals, signals and the exit status are as with
/// login.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl run --kernel 2.6.18 -- uname -r
  zonectl run --root tar:centos5-i386.tar.xz --bind .:/src hostname=builder -- make -C /src")]
pub(crate) struct Args {
    /// Brand [default: linux]
    #[arg(long, value_name = "BRAND")]
    brand: Option<String>,
    /// Kernel level, where the brand has levels
    #[arg(long, value_name = "V")]
    kernel: Option<String>,
    /// Refuse what the level did not have
    #[arg(long)]
    strict: bool,
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
    let program = args.command.first().cloned().unwrap_or_default();
    let run = request(args)?;
    let session = context.client.run(&run)?;
    session::program_of_its_own_zone(&format!("run {program}"), session, run.login.tty.is_some())
}

fn request(args: Args) -> Result<Run, crate::failure::Failure> {
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
    Ok(Run { edits, root, binds, login: session::request(None, args.command, Pty::Fitting) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Run, clap::Error> {
        let words = [&["zonectl", "run"], words].concat();
        match crate::Cli::try_parse_from(words)?.verb {
            crate::cmd::Verb::Run(args) => Ok(request(args).unwrap()),
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
