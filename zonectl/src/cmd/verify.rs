//! `zonectl verify`

use serde_json::json;

use super::{Context, Done};

/// Say whether a zone would boot here, and if not why
///
/// Exits 1 when it would not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl verify payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let name = &args.name;
    let verified = context.client.verify(name)?;
    let document = json!({"name": name, "ok": verified.ok, "findings": verified.findings});
    let quiet = context.output.is_quiet() && verified.ok;
    context.output.print(&document, || {
        let mut text = verified.findings.iter().map(|f| format!("{name}: {f}\n")).collect::<String>();
        if !quiet {
            text.push_str(&format!(
                "{name}: {}\n",
                if verified.ok { "would boot" } else { "would not boot" }
            ));
        }
        text
    })?;
    Ok(u8::from(!verified.ok))
}
