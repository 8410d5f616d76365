//! `zonectl get`

use serde_json::json;
use zone_api::{ApiError, ErrorKind};

use super::{Context, Done};

/// Show the configuration of a zone, or one value of it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl get payroll
  zonectl get payroll capped-memory.physical")]
pub(crate) struct Args {
    /// Zone
    name: String,
    /// Key, as kernel or capped-memory.physical [default: all, with their defaults]
    key: Option<String>,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let Args { name, key } = args;
    let mut text = context.client.get(name, key.as_deref())?;
    if !context.output.is_json() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        context.output.text(&text)?;
        return Ok(0);
    }
    if let Some(key) = key {
        let value = text.strip_suffix('\n').unwrap_or(&text);
        context.output.document(&json!({"name": name, "key": key, "value": value}))?;
        return Ok(0);
    }
    let config: serde_json::Value = toml::from_str(&text).map_err(|e| {
        let why = e.message().to_owned();
        ApiError::new(ErrorKind::Failed, format!("read the configuration of {name}"), why)
    })?;
    context.output.document(&json!({"name": name, "config": config}))?;
    Ok(0)
}
