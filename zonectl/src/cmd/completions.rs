//! `zonectl completions`

use clap::CommandFactory;
use serde_json::json;

use super::{Context, Done};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl completions bash > /etc/bash_completion.d/zonectl")]
pub(crate) struct Args {
    /// Shell
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "zonectl", &mut script);
    let script = String::from_utf8_lossy(&script);
    let document = json!({"shell": args.shell.to_string(), "script": script});
    context.output.print(&document, || script.to_string())?;
    Ok(0)
}
