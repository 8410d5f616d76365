//! `zonectl create`

use std::io::Read;
use std::path::{Path, PathBuf};

use zone_api::{Create, Edit};

use super::{Context, Done};
use crate::failure::Failure;
use crate::words::KeyValue;

/// Configure a zone
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl create payroll kernel=2.6.18 hostname=payroll
  zonectl export payroll | zonectl create copy -f -")]
pub(crate) struct Args {
    /// Zone: a letter or digit, then letters, digits, _ - and .; 64 at most
    name: String,
    /// Brand [default: linux]
    #[arg(long, value_name = "BRAND")]
    brand: Option<String>,
    /// Start from a configuration in TOML, as export prints it; - is stdin
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Properties, as set takes them
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<KeyValue>,
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    let toml = args.file.as_deref().map(read).transpose()?;
    let brand = args.brand.map(|value| Edit::Set { key: "brand".to_owned(), value });
    let edits = brand.into_iter().chain(args.settings.into_iter().map(KeyValue::into_edit)).collect();
    context.client.create(&Create { name: args.name.clone(), toml, edits })?;
    context.zone(&args.name)
}

fn read(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|whole| text = whole)
    };
    read.map_err(|e| Failure::local(format!("read {}", file.display()), &e))?;
    Ok(text)
}
