//! Every key of a zone's configuration, as data.

use super::rules::{self, Verdict};

type Rule = fn(&str) -> Verdict;

/// What a key's value is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Text that keeps a rule.
    Text(Rule),
    /// The same, or a whole number.
    Count(Rule),
    /// A list of texts that each keep a rule.
    List(Rule),
    /// `true` or `false`.
    Flag,
    /// A whole number, 1 or more.
    Whole,
    /// A number above 0.
    Real,
    /// `[key]`, with these keys of its own.
    Table(&'static [Key]),
    /// `[[key]]`, any number of times.
    Tables(&'static [Key]),
}

impl Kind {
    /// What to call it in a message.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Text(_) => "text in quotes",
            Self::Count(_) => "a whole number or text in quotes",
            Self::List(_) => "a list of texts",
            Self::Flag => "true or false",
            Self::Whole => "a whole number, 1 or more",
            Self::Real => "a number above 0",
            Self::Table(_) => "a table",
            Self::Tables(_) => "a list of tables",
        }
    }
}

/// One key.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// As it stands in the file.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// Whether its table needs it.
    pub(crate) required: bool,
    /// Whether a change takes effect in a running zone at once.
    pub(crate) live: bool,
}

pub(super) const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: false, live: false }
}

pub(super) const fn needed(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: true, live: false }
}

const fn live(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: false, live: true }
}

/// The whole file.
pub(crate) const ZONE: &[Key] = &[
    needed("name", Kind::Text(rules::name_rule)),
    key("brand", Kind::Text(rules::brand)),
    key("kernel", Kind::Text(rules::word_without_nul)),
    key("arch", Kind::Text(rules::arch)),
    key("strict", Kind::Flag),
    key("vsyscall", Kind::Text(rules::vsyscall)),
    key("host-kernel", Kind::Text(rules::word_without_nul)),
    live("autoboot", Kind::Flag),
    live("boot-after", Kind::List(rules::name_rule)),
    live("restart", Kind::Text(rules::restart)),
    live("restart-limit", Kind::Whole),
    key("init", Kind::Text(rules::init)),
    key("bootargs", Kind::List(rules::text_without_nul)),
    key("env", Kind::List(rules::variable)),
    key("user", Kind::Text(rules::user_and_group)),
    key("workdir", Kind::Text(rules::absolute)),
    key("stop-signal", Kind::Text(rules::signal)),
    key("hostname", Kind::Text(rules::hostname)),
    key("hostid", Kind::Text(rules::hostid)),
    live("profile", Kind::Flag),
    key("ip-type", Kind::Text(rules::ip_type)),
    live("max-processes", Kind::Whole),
    live("max-lwps", Kind::Whole),
    live("cpu-shares", Kind::Whole),
    live("io-weight", Kind::Whole),
    key("limit-privileges", Kind::List(rules::privilege)),
    live("capped-cpu", Kind::Table(&[needed("ncpus", Kind::Real)])),
    live("dedicated-cpu", Kind::Table(&[needed("ncpus", Kind::Count(rules::cpu_count))])),
    live(
        "capped-memory",
        Kind::Table(&[
            key("physical", Kind::Text(rules::memory)),
            key("swap", Kind::Text(rules::swap)),
            key("locked", Kind::Text(rules::swap)),
        ]),
    ),
    live(
        "capped-io",
        Kind::Tables(&[
            key("device", Kind::Text(rules::device)),
            key("read-bandwidth", Kind::Text(rules::memory)),
            key("write-bandwidth", Kind::Text(rules::memory)),
            key("read-iops", Kind::Whole),
            key("write-iops", Kind::Whole),
        ]),
    ),
    key("net", Kind::Tables(super::network::NET)),
    key(
        "fs",
        Kind::Tables(&[
            needed("dir", Kind::Text(rules::guest_path)),
            needed("special", Kind::Text(rules::absolute)),
            key("type", Kind::Text(rules::fs_type)),
            key("options", Kind::List(rules::fs_option)),
        ]),
    ),
    key("device", Kind::Tables(&[needed("match", Kind::Text(rules::device))])),
    key(
        "rctl",
        Kind::Tables(&[
            needed("name", Kind::Text(rules::rctl_name)),
            needed("value", Kind::Text(rules::rctl_value)),
        ]),
    ),
    live(
        "attr",
        Kind::Tables(&[
            needed("name", Kind::Text(rules::not_empty)),
            needed("type", Kind::Text(rules::attr_type)),
            needed("value", Kind::Text(rules::word_without_nul)),
        ]),
    ),
    live(
        "admin",
        Kind::Tables(&[needed("user", Kind::Text(rules::user)), needed("auths", Kind::List(rules::auth))]),
    ),
];

/// The key of that name.
pub(crate) fn find(keys: &'static [Key], name: &str) -> Option<&'static Key> {
    keys.iter().find(|key| key.name == name)
}

/// What to say of a key that is not there.
pub(crate) fn unknown(keys: &[Key], name: &str) -> String {
    match rules::nearest(name, keys.iter().map(|key| key.name)) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            format!("unknown key; known here: {}", known.join(", "))
        }
    }
}
