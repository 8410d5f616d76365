//! Which verb is legal in which state, and where it leads: one table.

use std::fmt;

use serde::{Deserialize, Serialize};
use zone_api::{ApiError, ErrorKind, State};

/// An operation on a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // They are zonectl's commands.
pub enum Verb {
    Create,
    Delete,
    Install,
    Uninstall,
    Profile,
    Snapshot,
    Rollback,
    Clone,
    Receive,
    Move,
    Detach,
    Attach,
    Boot,
    Ready,
    Halt,
    Shutdown,
    Reboot,
    CtrlAltDel,
    Verify,
    Edit,
    Run,
    Login,
    Console,
}

impl Verb {
    /// zonectl's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Profile => "profile",
            Self::Snapshot => "snapshot",
            Self::Rollback => "rollback",
            Self::Clone => "clone",
            Self::Receive => "receive",
            Self::Move => "move",
            Self::Detach => "detach",
            Self::Attach => "attach",
            Self::Boot => "boot",
            Self::Ready => "ready",
            Self::Halt => "halt",
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::CtrlAltDel => "ctrl-alt-del",
            Self::Verify => "verify",
            Self::Edit => "edit",
            Self::Run => "run",
            Self::Login => "login",
            Self::Console => "console",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What comes of a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The zone is then in this state.
    To(State),
    /// It stays where it is.
    Stay,
    /// It is no more.
    Gone,
}

/// A cell of the table.
#[derive(Debug, Clone, Copy)]
enum Cell {
    Yes(Outcome),
    /// Not here; what would help.
    No(&'static str),
}

use Cell::{No, Yes};

const STAY: Cell = Yes(Outcome::Stay);
const GONE: Cell = Yes(Outcome::Gone);
const CONFIGURED: Cell = Yes(Outcome::To(State::Configured));
const INSTALLED: Cell = Yes(Outcome::To(State::Installed));
const READY: Cell = Yes(Outcome::To(State::Ready));
const RUNNING: Cell = Yes(Outcome::To(State::Running));

const EXISTS: Cell = No("choose another name, or delete it first");
const UNINSTALL_FIRST: Cell = No("uninstall it first");
const INSTALL_FIRST: Cell = No("install it first");
const BOOT_FIRST: Cell = No("boot it first");
const HALT_FIRST: Cell = No("halt it first");
const NO_ROOT: Cell = No("it has no root to remove; delete forgets it");
const NOT_UP: Cell = No("nothing of it runs");
const UP: Cell = No("it runs already; reboot boots it anew");
const IS_READY: Cell = No("it is ready already; boot starts its init");
const ENDING: Cell = No("it is about to end; wait for that, or halt it");

/// States in the order of the table's columns.
const COLUMNS: [State; 7] = [
    State::Configured,
    State::Incomplete,
    State::Installed,
    State::Ready,
    State::Running,
    State::ShuttingDown,
    State::Down,
];

#[rustfmt::skip] // A table reads by its columns.
const TABLE: [(Verb, [Cell; 7]); 23] = [
    // from:             configured     incomplete       installed        ready       running     shutting_down down
    (Verb::Create,    [EXISTS,        EXISTS,          EXISTS,          EXISTS,     EXISTS,     EXISTS,     EXISTS]),
    (Verb::Delete,    [GONE,          UNINSTALL_FIRST, UNINSTALL_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Install,   [INSTALLED,     UNINSTALL_FIRST, UNINSTALL_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Uninstall, [NO_ROOT,       CONFIGURED,      CONFIGURED,      HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Profile,   [INSTALL_FIRST, UNINSTALL_FIRST, STAY,            HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Snapshot,  [INSTALL_FIRST, UNINSTALL_FIRST, STAY,            STAY,       STAY,       ENDING,     ENDING]),
    (Verb::Rollback,  [INSTALL_FIRST, UNINSTALL_FIRST, STAY,            HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Clone,     [INSTALLED,     UNINSTALL_FIRST, UNINSTALL_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Receive,   [INSTALLED,     UNINSTALL_FIRST, STAY,            HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Move,      [INSTALL_FIRST, UNINSTALL_FIRST, STAY,            HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Detach,    [INSTALL_FIRST, UNINSTALL_FIRST, CONFIGURED,      HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Attach,    [INSTALLED,     UNINSTALL_FIRST, UNINSTALL_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST, HALT_FIRST]),
    (Verb::Boot,      [INSTALL_FIRST, UNINSTALL_FIRST, RUNNING,         RUNNING,    UP,         ENDING,     ENDING]),
    (Verb::Ready,     [INSTALL_FIRST, UNINSTALL_FIRST, READY,           IS_READY,   UP,         ENDING,     ENDING]),
    (Verb::Halt,      [NOT_UP,        NOT_UP,          NOT_UP,          INSTALLED,  INSTALLED,  INSTALLED,  INSTALLED]),
    (Verb::Shutdown,  [NOT_UP,        NOT_UP,          NOT_UP,          INSTALLED,  INSTALLED,  ENDING,     ENDING]),
    (Verb::Reboot,    [INSTALL_FIRST, UNINSTALL_FIRST, BOOT_FIRST,      BOOT_FIRST, RUNNING,    ENDING,     ENDING]),
    (Verb::CtrlAltDel, [INSTALL_FIRST, UNINSTALL_FIRST, BOOT_FIRST,     BOOT_FIRST, STAY,       ENDING,     ENDING]),
    (Verb::Verify,    [STAY,          STAY,            STAY,            STAY,       STAY,       STAY,       STAY]),
    (Verb::Edit,      [STAY,          STAY,            STAY,            STAY,       STAY,       STAY,       STAY]),
    (Verb::Run,       [EXISTS,        EXISTS,          EXISTS,          EXISTS,     EXISTS,     EXISTS,     EXISTS]),
    (Verb::Login,     [INSTALL_FIRST, UNINSTALL_FIRST, BOOT_FIRST,      BOOT_FIRST, STAY,       ENDING,     ENDING]),
    (Verb::Console,   [INSTALL_FIRST, UNINSTALL_FIRST, STAY,            STAY,       STAY,       STAY,       STAY]),
];

/// Moves that a monitor makes by itself: its guest ends or reboots, or the monitor dies.
#[rustfmt::skip]
const MOVES: &[(State, State)] = &[
    (State::Installed,    State::Ready),        (State::Installed,    State::Running),
    (State::Ready,        State::Running),      (State::Ready,        State::Down),
    (State::Ready,        State::ShuttingDown), (State::Ready,        State::Installed),
    (State::Running,      State::ShuttingDown), (State::Running,      State::Down),
    (State::Running,      State::Installed),    (State::ShuttingDown, State::Down),
    (State::ShuttingDown, State::Running),      (State::ShuttingDown, State::Installed),
    // A reboot makes the platform anew.
    (State::ShuttingDown, State::Ready),        (State::Down,         State::Ready),
    (State::Down,         State::Running),      (State::Down,         State::Installed),
];

/// Whether a monitor may take its zone from one state to the other.
pub fn monitor_may(from: State, to: State) -> bool {
    from == to || MOVES.contains(&(from, to))
}

fn cell(state: State, verb: Verb) -> Cell {
    let column = COLUMNS.iter().position(|s| *s == state);
    let row = TABLE.iter().find(|(v, _)| *v == verb);
    match (row, column) {
        (Some((_, cells)), Some(column)) => cells[column],
        // Tests show that the table has every verb and state.
        _ => No("it is not possible here"),
    }
}

/// What comes of a verb in a state; `None` where it is not legal.
pub fn outcome(state: State, verb: Verb) -> Option<Outcome> {
    match cell(state, verb) {
        Yes(outcome) => Some(outcome),
        No(_) => None,
    }
}

/// The same for a zone by name.
///
/// # Errors
/// Names state and verb, and says what would help.
pub fn check(name: &str, state: State, verb: Verb) -> Result<Outcome, ApiError> {
    match cell(state, verb) {
        Yes(outcome) => Ok(outcome),
        No(help) => Err(ApiError::new(
            ErrorKind::WrongState,
            format!("{verb} {name}"),
            format!("zone {name} is {}", state.word()),
        )
        .hint(help)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const VERBS: [Verb; 23] = [
        Verb::Create,
        Verb::Delete,
        Verb::Install,
        Verb::Uninstall,
        Verb::Profile,
        Verb::Snapshot,
        Verb::Rollback,
        Verb::Clone,
        Verb::Receive,
        Verb::Move,
        Verb::Detach,
        Verb::Attach,
        Verb::Boot,
        Verb::Ready,
        Verb::Halt,
        Verb::Shutdown,
        Verb::Reboot,
        Verb::CtrlAltDel,
        Verb::Verify,
        Verb::Edit,
        Verb::Run,
        Verb::Login,
        Verb::Console,
    ];

    #[test]
    fn every_state_and_verb_is_decided_once() {
        let rows: HashSet<Verb> = TABLE.iter().map(|(verb, _)| *verb).collect();
        assert_eq!(rows, VERBS.into_iter().collect());
        assert_eq!(rows.len(), TABLE.len());
        assert_eq!(COLUMNS.iter().collect::<HashSet<_>>().len(), COLUMNS.len());
        for state in COLUMNS {
            for verb in VERBS {
                match check("z", state, verb) {
                    Ok(found) => assert_eq!(Some(found), outcome(state, verb)),
                    Err(error) => {
                        assert_eq!(error.kind, ErrorKind::WrongState);
                        assert_eq!(error.what, format!("{verb} z"));
                        assert!(error.why.contains(state.word()), "{error}");
                        assert!(error.hint.is_some_and(|hint| !hint.contains("not possible here")));
                    }
                }
            }
        }
    }

    fn reachable(from: State) -> HashSet<State> {
        let mut seen = HashSet::from([from]);
        let mut open = vec![from];
        while let Some(state) = open.pop() {
            for verb in VERBS {
                if let Some(Outcome::To(next)) = outcome(state, verb)
                    && seen.insert(next)
                {
                    open.push(next);
                }
            }
        }
        seen
    }

    #[test]
    fn verbs_lead_from_every_state_to_running_and_to_configured() {
        for state in COLUMNS {
            let found = reachable(state);
            assert!(found.contains(&State::Running), "{state:?} never runs");
            assert!(found.contains(&State::Configured), "{state:?} cannot be emptied");
        }
    }

    #[test]
    fn a_zone_is_deleted_from_configured_only() {
        for state in COLUMNS {
            assert_eq!(
                outcome(state, Verb::Delete) == Some(Outcome::Gone),
                state == State::Configured,
                "{state:?}"
            );
        }
    }

    #[test]
    fn monitors_move_live_zones_only_and_always_can_end_them() {
        for state in [State::Ready, State::Running, State::ShuttingDown, State::Down] {
            assert!(monitor_may(state, State::Installed), "{state:?}");
        }
        for (from, to) in MOVES {
            for state in [from, to] {
                assert!(!matches!(state, State::Configured | State::Incomplete), "{from:?} {to:?}");
            }
        }
        assert!(!monitor_may(State::Running, State::Ready));
    }
}
