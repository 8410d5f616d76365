//! `zonectl install`

use super::{Context, Done};
use crate::progress::Reporter;
use crate::words;

/// Fill the root of a configured zone
///
/// Sources: image:NAME (zonectl image), oci:PATH[:TAG], docker-archive:PATH[:REF], dir:PATH, tar:PATH (plain, gz, xz, zst or
/// bz2), debootstrap:SUITE[,arch=i386][,variant=minbase][,include=PACKAGE+PACKAGE][,mirror=URL]. A PATH of - is stdin.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl install payroll tar:centos5-i386.tar.xz
  zonectl install web image:debian:12
  zonectl install old debootstrap:bullseye,arch=i386
  ssh host tar -c -C /srv/old . | zonectl install old tar:-")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Where its files come from
    source: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let name = &args.name;
    let source = words::source(&args.source)?;
    let mut reporter = Reporter::new(name, context.output.is_quiet() || context.output.is_json());
    let result = if words::is_stream(&source) {
        context.client.install_from(name, &source, std::io::stdin(), |p| reporter.take(p))
    } else {
        context.client.install(name, &source, |p| reporter.take(p))
    };
    reporter.end();
    result?;
    if context.output.is_json() {
        let zone = context.client.zone(name)?;
        let document = serde_json::json!({"zone": zone, "source": source, "notes": reporter.notes});
        context.output.document(&document)?;
    }
    Ok(0)
}
