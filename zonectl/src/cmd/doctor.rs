//! `zonectl doctor`

use zone_api::{Finding, Verdict};

use super::{Context, Done};
use crate::output::{Colour, Table};

/// Say what this host offers and lacks, and why it matters
///
/// Exits 1 when zones cannot run here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl doctor")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context<'_>) -> Done {
    let findings = context.client.doctor()?;
    context.output.print(&findings, || {
        let mut table = Table::new(&[]);
        findings.iter().filter(|f| !context.output.is_quiet() || f.verdict != Verdict::Ok).for_each(
            |finding| {
                let (word, colour) = word(finding.verdict);
                table.row(vec![
                    (word.to_owned(), colour),
                    (finding.what.clone(), Colour::Plain),
                    (text(finding), Colour::Plain),
                ]);
            },
        );
        table.render(context.output)
    })?;
    Ok(u8::from(findings.iter().any(|f| f.verdict == Verdict::Fatal)))
}

fn word(verdict: Verdict) -> (&'static str, Colour) {
    match verdict {
        Verdict::Ok => ("ok", Colour::Green),
        Verdict::Missing => ("missing", Colour::Yellow),
        Verdict::Fatal => ("fatal", Colour::Red),
    }
}

/// Why it matters is of interest where it is not there.
fn text(finding: &Finding) -> String {
    match (finding.verdict, finding.found.as_str()) {
        (Verdict::Ok, found) => found.to_owned(),
        (_, "") => finding.why.clone(),
        (_, found) => format!("{found}: {}", finding.why),
    }
}
