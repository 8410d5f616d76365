//! `zonectl edit`

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::Command;

use zone_api::{ApiError, Edited, ErrorKind};

use super::{Context, Done, ask};
use crate::failure::Failure;

/// Change the configuration of a zone in $VISUAL, $EDITOR or vi
///
/// Where zoned does not take the text, it can be edited again; otherwise the file stays and is named.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  EDITOR=nano zonectl edit payroll")]
pub(crate) struct Args {
    /// Zone
    name: String,
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    let name = &args.name;
    let before = context.client.config(name)?;
    let failed = |e: &std::io::Error| Failure::local(format!("edit {name}"), e);
    let mut file = tempfile::Builder::new()
        .prefix(&format!("zonectl-{}-", name.replace('/', "_")))
        .suffix(".toml")
        .tempfile()
        .map_err(|e| failed(&e))?;
    file.write_all(before.as_bytes()).map_err(|e| failed(&e))?;
    // From here on the text is the user's work, so that only success removes it.
    let path = file.into_temp_path().keep().map_err(|e| failed(&e.error))?;
    match round(name, &before, &path, context) {
        Ok(edited) => {
            // A file that stays in the temporary folder does no harm.
            let _ = fs::remove_file(&path);
            if edited.is_none() {
                context.output.remark(&format!("{name}: nothing changed"))?;
            }
            context.edited(name, &edited.unwrap_or_default())
        }
        Err(Failure::Error(error, status)) => {
            let kept = format!("your text is in {}", path.display());
            let hint = error.hint.as_ref().map_or_else(|| kept.clone(), |h| format!("{h}; {kept}"));
            Err(Failure::Error(error.hint(hint), status))
        }
        Err(other) => Err(other),
    }
}

/// Edits until zoned takes the text or the user has enough; `None` where nothing changed.
fn round(name: &str, before: &str, path: &Path, context: &Context<'_>) -> Result<Option<Edited>, Failure> {
    loop {
        editor(name, path)?;
        let text =
            fs::read_to_string(path).map_err(|e| Failure::local(format!("read {}", path.display()), &e))?;
        if text == before {
            return Ok(None);
        }
        if context.client.config(name)? != before {
            let why = "it was changed by someone else meanwhile";
            return Err(ApiError::new(ErrorKind::WrongState, format!("edit {name}"), why).into());
        }
        match context.client.put_config(name, &text) {
            Ok(edited) => return Ok(Some(edited)),
            Err(error) if error.kind == ErrorKind::Invalid && std::io::stdin().is_terminal() => {
                if !ask(&format!("zonectl: {error}\nEdit again?"), true) {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs the editor, whose variable may hold options as well, as environ(7) has it.
fn editor(name: &str, path: &Path) -> Result<(), Failure> {
    let set = |key| std::env::var(key).ok().filter(|v| !v.trim().is_empty());
    let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
    let what = format!("edit {name}");
    let status = Command::new("/bin/sh")
        .arg("-c")
        .arg(format!("exec {editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status()
        .map_err(|e| Failure::local(&what, &e))?;
    if status.success() {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Failed, what, format!("{editor} ended with {status}")).into())
}
