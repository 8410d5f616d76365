//! `zonectl man`

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::json;

use super::{Context, Done};
use crate::failure::Failure;

/// Write the manual pages, one of them for each verb
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zonectl man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// Folder, made where it is missing
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let folder = &args.folder;
    std::fs::create_dir_all(folder).map_err(|e| Failure::local(format!("make {}", folder.display()), &e))?;
    let command = crate::Cli::command().disable_help_subcommand(true);
    let verbs: Vec<_> = command.get_subcommands().map(clap::Command::get_name).map(str::to_owned).collect();
    let mut files = vec![page(folder, "zonectl", command.clone())?];
    for verb in verbs {
        // Built as a whole, so that a verb's page has the global options.
        let mut whole = command.clone();
        whole.build();
        if let Some(one) = whole.find_subcommand(&verb) {
            let name = format!("zonectl-{verb}");
            let one = one.clone().bin_name(format!("zonectl {verb}")).display_name(name.clone());
            files.push(page(folder, &name, one)?);
        }
    }
    if context.output.is_json() {
        context.output.document(&json!({"files": files}))?;
    }
    Ok(0)
}

fn page(folder: &Path, name: &str, command: clap::Command) -> Result<PathBuf, Failure> {
    let path = folder.join(format!("{name}.1"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command)
        .title(name)
        .manual("Zones")
        .source(concat!("zonectl ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|e| Failure::local(format!("write {}", path.display()), &e))?;
    Ok(path)
}
