//! `zonectl metrics`

use serde_json::json;

use super::{Context, Done};

/// Print all figures in the text format of Prometheus
///
/// For the textfile collector of node_exporter, where nothing can scrape zoned's socket.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zonectl metrics > /var/lib/prometheus/node-exporter/zones.prom.new && mv /var/lib/prometheus/node-exporter/zones.prom.new \\
    /var/lib/prometheus/node-exporter/zones.prom")]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context<'_>) -> Done {
    let text = context.client.metrics()?;
    context.output.print(&json!({"metrics": text}), || text.clone())?;
    Ok(0)
}
