//! `zonectl commit`

use zone_api::CommitZone;

use super::{Context, Done};
use crate::progress::Reporter;
use crate::words::Origin;

/// Make an image of what a zone wrote
///
/// It becomes a layer over those of the image that the zone was installed from; of a zone that was installed from something else,
/// the root is the first layer. How the image's program is started is as the zone's configuration says it. A zone that runs is held
/// still for a moment.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl commit web shop:2
  zonectl commit web@monday shop:1 -m 'before the new theme'")]
pub(crate) struct Args {
    /// Zone, and the snapshot if it is not to be as it is now
    #[arg(value_name = "NAME[@SNAP]")]
    from: Origin,
    /// NAME[:TAG] of the image
    image: String,
    /// What its history is to say
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let Args { from: Origin { zone, snapshot }, image, message } = args;
    let mut reporter = Reporter::new(&zone, context.output.is_quiet() || context.output.is_json());
    let commit = CommitZone { image, snapshot, comment: message };
    let result = context.client.commit(&zone, &commit, |p| reporter.take(p));
    reporter.end();
    result?;
    if context.output.is_json() {
        let document = serde_json::json!({"zone": zone, "image": commit.image, "notes": reporter.notes});
        context.output.document(&document)?;
    }
    Ok(0)
}
