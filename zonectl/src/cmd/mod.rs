//! The verbs, a file each, and what they share.

mod add;
mod attach;
mod boot;
mod brand;
mod clone;
mod commit;
mod completions;
mod console;
mod create;
mod ctrl_alt_del;
mod delete;
mod detach;
mod doctor;
mod du;
mod edit;
mod events;
mod export;
mod get;
mod halt;
mod image;
mod image_export;
mod install;
mod ledger;
mod list;
mod log;
mod login;
mod man;
mod metrics;
mod profile;
mod ready;
mod reboot;
mod receive;
mod relocate;
mod remove;
mod rollback;
mod run;
mod scan;
mod send;
mod set;
mod shutdown;
mod snapshot;
mod snapshots;
mod stat;
mod top;
mod uninstall;
mod unset;
mod verify;

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;
use zone_api::client::Client;
use zone_api::{ApiError, Edited, ErrorKind};

use crate::failure::Failure;
use crate::output::Output;

/// Exit status of a verb that did its work.
pub(crate) type Done = Result<u8, Failure>;

/// What a verb works with.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) client: Client,
    pub(crate) output: &'a Output,
}

/// A verb with its words.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    Create(create::Args),
    Get(get::Args),
    Set(set::Args),
    Unset(unset::Args),
    Add(add::Args),
    Remove(remove::Args),
    Edit(edit::Args),
    Export(export::Args),
    Delete(delete::Args),
    Verify(verify::Args),
    Install(install::Args),
    Boot(boot::Args),
    Ready(ready::Args),
    Halt(halt::Args),
    Shutdown(shutdown::Args),
    Reboot(reboot::Args),
    CtrlAltDel(ctrl_alt_del::Args),
    Login(login::Args),
    Console(console::Args),
    Run(run::Args),
    List(list::Args),
    Uninstall(uninstall::Args),
    Snapshot(snapshot::Args),
    Snapshots(snapshots::Args),
    Commit(commit::Args),
    Rollback(rollback::Args),
    Clone(clone::Args),
    #[command(name = "move")]
    Relocate(relocate::Args),
    Du(du::Args),
    Detach(detach::Args),
    Attach(attach::Args),
    Send(send::Args),
    Receive(receive::Args),
    Stat(stat::Args),
    Top(top::Args),
    Events(events::Args),
    Metrics(metrics::Args),
    Log(log::Args),
    Ledger(ledger::Args),
    Profile(profile::Args),
    Image(image::Args),
    Brand(brand::Args),
    Scan(scan::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Verbs that start a program.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Brief {
    Login(login::Args),
    Run(run::Args),
}

impl From<Brief> for Verb {
    fn from(brief: Brief) -> Self {
        match brief {
            Brief::Login(args) => Self::Login(args),
            Brief::Run(args) => Self::Run(args),
        }
    }
}

impl Verb {
    /// Does it.
    pub(crate) fn run(self, context: &Context<'_>) -> Done {
        match self {
            Self::Create(args) => create::run(args, context),
            Self::Get(args) => get::run(&args, context),
            Self::Set(args) => set::run(args, context),
            Self::Unset(args) => unset::run(args, context),
            Self::Add(args) => add::run(args, context),
            Self::Remove(args) => remove::run(args, context),
            Self::Edit(args) => edit::run(&args, context),
            Self::Export(args) => export::run(&args, context),
            Self::Delete(args) => delete::run(&args, context),
            Self::Verify(args) => verify::run(&args, context),
            Self::Install(args) => install::run(&args, context),
            Self::Boot(args) => boot::run(args, context),
            Self::Ready(args) => ready::run(&args, context),
            Self::Halt(args) => halt::run(&args, context),
            Self::Shutdown(args) => shutdown::run(&args, context),
            Self::Reboot(args) => reboot::run(&args, context),
            Self::CtrlAltDel(args) => ctrl_alt_del::run(&args, context),
            Self::Login(args) => login::run(args, context),
            Self::Console(args) => console::run(&args, context),
            Self::Run(args) => run::run(args, context),
            Self::List(args) => list::run(&args, context),
            Self::Uninstall(args) => uninstall::run(&args, context),
            Self::Snapshot(args) => snapshot::run(&args, context),
            Self::Snapshots(args) => snapshots::run(&args, context),
            Self::Commit(args) => commit::run(args, context),
            Self::Rollback(args) => rollback::run(&args, context),
            Self::Clone(args) => clone::run(&args, context),
            Self::Du(args) => du::run(&args, context),
            Self::Relocate(args) => relocate::run(&args, context),
            Self::Detach(args) => detach::run(&args, context),
            Self::Attach(args) => attach::run(&args, context),
            Self::Send(args) => send::run(&args, context),
            Self::Receive(args) => receive::run(&args, context),
            Self::Stat(args) => stat::run(args, context),
            Self::Top(args) => top::run(&args, context),
            Self::Events(args) => events::run(&args, context),
            Self::Metrics(metrics::Args {}) => metrics::run(context),
            Self::Log(args) => log::run(&args, context),
            Self::Ledger(args) => ledger::run(&args, context),
            Self::Profile(args) => profile::run(&args, context),
            Self::Image(args) => image::run(args, context),
            Self::Brand(args) => brand::run(&args, context),
            Self::Scan(args) => scan::run(&args, context),
            Self::Doctor(doctor::Args {}) => doctor::run(context),
            Self::Completions(args) => completions::run(&args, context),
            Self::Man(args) => man::run(&args, context),
        }
    }
}

impl Context<'_> {
    /// The end of a verb that changed a zone: programs get the zone as it is now.
    fn zone(&self, name: &str) -> Done {
        if self.output.is_json() {
            self.output.document(&self.client.zone(name)?)?;
        }
        Ok(0)
    }

    /// The end of a verb that changed a configuration.
    fn edited(&self, name: &str, edited: &Edited) -> Done {
        let Edited { live, at_reboot } = edited;
        if self.output.is_json() {
            self.output.document(&json!({"name": name, "live": live, "at_reboot": at_reboot}))?;
            return Ok(0);
        }
        if !live.is_empty() {
            self.output.remark(&format!("{name}: in effect now: {}", live.join(", ")))?;
        }
        if !at_reboot.is_empty() {
            self.output
                .remark(&format!("{name}: takes effect at the next reboot: {}", at_reboot.join(", ")))?;
        }
        Ok(0)
    }
}

/// Asks before what cannot be undone; a script, which has no terminal, means what it says.
fn confirm(what: &str, question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() || ask(question, false) {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::Failed, what, "not confirmed").hint("-F does not ask").into())
}

/// A question on stderr; an answer that is neither yes nor no is the default, an end of input is no.
fn ask(question: &str, default: bool) -> bool {
    let choice = if default { "[Y/n]" } else { "[y/N]" };
    let mut line = String::new();
    let asked = write!(io::stderr(), "{question} {choice} ")
        .and_then(|()| io::stderr().flush())
        .and_then(|()| io::stdin().lock().read_line(&mut line));
    match (asked, line.trim().to_ascii_lowercase().as_str()) {
        (Err(_) | Ok(0), _) => false,
        (_, "y" | "yes") => true,
        (_, "n" | "no") => false,
        _ => default,
    }
}
