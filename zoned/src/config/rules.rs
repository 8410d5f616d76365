//! What a single value may be. Each rule answers with what is wrong, as a clause.

use super::facts::known_brands;
use crate::confine::limits::RESOURCES;
use crate::confine::privileges;

/// What is wrong with a value.
pub(crate) type Verdict = Result<(), String>;

/// Longest zone name and, by uname(2), longest host name.
const LONGEST_NAME: usize = 64;

/// Zone names: a letter or digit, then letters, digits, `_`, `-`, `.`; `global` is taken.
pub fn name_rule(name: &str) -> Result<(), String> {
    if name == "global" {
        return Err("global is the host itself; choose another name".into());
    }
    if matches!(name, "zoned.sock" | "zoned.lock") {
        return Err(format!("{name} is a file of zoned's own in its run folder; choose another name"));
    }
    word(name).map_err(|why| format!("{name:?} is no name for a zone: {why}"))
}

fn word(text: &str) -> Verdict {
    let Some(first) = text.chars().next() else { return Err("it is empty".into()) };
    if !first.is_ascii_alphanumeric() {
        return Err("it must begin with a letter or digit".into());
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !"_-.".contains(*c)) {
        return Err(format!("{odd:?} is not a letter, digit, _, - or ."));
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("it has {} characters, {LONGEST_NAME} are the most", text.len()));
    }
    Ok(())
}

pub(crate) fn brand(name: &str) -> Verdict {
    one_of("brand", name, &known_brands())
}

pub(crate) fn arch(text: &str) -> Verdict {
    one_of("arch", text, &["i386", "i486", "i586", "i686", "x86_64"])
}

pub(crate) fn init(text: &str) -> Verdict {
    if matches!(text, "auto" | "none") { Ok(()) } else { guest_path(text) }
}

/// An init with its arguments.
pub fn check_init(program: &str, arguments: &[String]) -> Result<(), String> {
    init(program)?;
    arguments.iter().try_for_each(|argument| text_without_nul(argument))
}

/// Anything that execve(2) and /proc/cmdline can carry.
pub(crate) fn word_without_nul(text: &str) -> Verdict {
    if text.contains(['\0', '\n']) { Err("it holds a NUL or a line end".into()) } else { Ok(()) }
}

/// Anything that execve(2) can carry; in /proc/cmdline a line end is a space.
pub(crate) fn text_without_nul(text: &str) -> Verdict {
    if text.contains('\0') { Err("it holds a NUL".into()) } else { Ok(()) }
}

/// `NAME=VALUE`
///
/// # Errors
/// What is wrong with it.
pub fn variable(text: &str) -> Result<(), String> {
    text_without_nul(text)?;
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(()),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

/// Number of `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
pub fn signal_number(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let number = match name.strip_prefix("RTMIN") {
        Some("") => 34,
        // As the C libraries number them for programs.
        Some(more) => 34 + more.strip_prefix('+')?.parse::<u8>().ok().map(i32::from)?,
        None => name
            .parse::<u8>()
            .map(i32::from)
            .or_else(|_| format!("SIG{name}").parse::<nix::sys::signal::Signal>().map(|signal| signal as i32))
            .ok()?,
    };
    (1..=64).contains(&number).then_some(number)
}

pub(crate) fn signal(text: &str) -> Verdict {
    signal_number(text).map(drop).ok_or_else(|| format!("{text:?} is no signal"))
}

/// `USER[:GROUP]`, names or numbers of the guest.
pub(crate) fn user_and_group(text: &str) -> Verdict {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let one = |word: &str| {
        let is_number = word.bytes().all(|b| b.is_ascii_digit());
        if is_number && word.parse::<u32>().is_ok_and(|id| id >= crate::confine::IDS) {
            return Err(format!("{word} is no id of a zone: they are 0 to 65535"));
        }
        self::user(word)
    };
    one(user)?;
    group.map_or(Ok(()), one)
}

pub(crate) fn hostname(text: &str) -> Verdict {
    word(text).map_err(|why| format!("{text:?} is no host name: {why}"))
}

pub(crate) fn hostid(text: &str) -> Verdict {
    let digits = text.strip_prefix("0x").unwrap_or("");
    if (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(format!("{text:?} is not 0x and one to eight hex digits"))
    }
}

pub(crate) fn ip_type(text: &str) -> Verdict {
    one_of("ip-type", text, &["exclusive", "shared", "host", "none"])
}

pub(crate) fn vsyscall(text: &str) -> Verdict {
    one_of("vsyscall", text, &["auto", "rewrite", "host"])
}

pub(crate) fn privilege(text: &str) -> Verdict {
    if text == "default" {
        return Ok(());
    }
    one_of("capability", text.strip_prefix('!').unwrap_or(text), &privileges::NAMES)?;
    privileges::resolve(&[text.to_owned()]).map(drop)
}

/// Bytes in a size: a number, with K, M, G or T for powers of 1024.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write bytes, or a number with K, M, G or T");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, last)) if last.is_ascii_alphabetic() => (&text[..at], last),
        _ => (text, ' '),
    };
    let power = match unit.to_ascii_uppercase() {
        ' ' => 0,
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err(wrong()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    count.checked_mul(1 << power).ok_or_else(|| format!("{text:?} is more bytes than there can be"))
}

pub(crate) fn memory(text: &str) -> Verdict {
    match bytes(text)? {
        0 => Err("a zone needs some memory".into()),
        _ => Ok(()),
    }
}

pub(crate) fn swap(text: &str) -> Verdict {
    bytes(text).map(drop)
}

pub(crate) fn rctl_name(text: &str) -> Verdict {
    let own = RESOURCES.iter().map(|(name, _)| *name);
    let names: Vec<&str> = own.chain(super::resources::ZONE_RCTLS).collect();
    one_of("limit", text, &names)
}

/// Of setrlimit(2) or of a zone: which of the two, only its name tells.
pub(crate) fn rctl_value(text: &str) -> Verdict {
    limit(text).map(drop).or_else(|why| bytes(text).map(drop).map_err(|_| why))
}

pub(crate) fn cpu_count(text: &str) -> Verdict {
    super::resources::cpu_range(text).map(drop)
}

/// Soft and hard limit of `SOFT:HARD` or one number; `unlimited` is a number.
pub fn limit(text: &str) -> Result<(u64, u64), String> {
    let one = |part: &str| match part {
        "unlimited" => Ok(libc::RLIM_INFINITY),
        _ if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) => {
            part.parse().map_err(|_| format!("{part} is too large"))
        }
        _ => Err(format!("{text:?} is not SOFT:HARD or one number; unlimited is a number")),
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (low, high) = (one(soft)?, one(hard)?);
    if low > high {
        return Err(format!("the soft limit {soft} is above the hard limit {hard}"));
    }
    Ok((low, high))
}

/// An absolute path without `..`: what a path means must not hang on where a link points.
pub(crate) fn absolute(text: &str) -> Verdict {
    if !text.starts_with('/') {
        return Err(format!("{text:?} is not an absolute path"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("{text:?} holds .."));
    }
    word_without_nul(text)
}

pub(crate) fn guest_path(text: &str) -> Verdict {
    absolute(text)?;
    if text.bytes().all(|b| b == b'/') { Err("it is the root itself".into()) } else { Ok(()) }
}

pub(crate) fn fs_type(text: &str) -> Verdict {
    one_of("type", text, &["bind"])
}

pub(crate) fn fs_option(text: &str) -> Verdict {
    one_of("option", text, &["ro", "rw", "nosuid", "nodev", "noexec"])
}

pub(crate) fn device(text: &str) -> Verdict {
    absolute(text)?;
    match text.strip_prefix("/dev/") {
        Some(rest) if !rest.trim_matches('/').is_empty() => Ok(()),
        _ => Err(format!("{text:?} is not under /dev")),
    }
}

/// A network interface: IFNAMSIZ is 16 with the NUL; no slash or space (dev_valid_name() in Linux).
pub(crate) fn interface(text: &str) -> Verdict {
    if text.is_empty() || text.len() > 15 || matches!(text, "." | "..") {
        return Err(format!("{text:?} is no interface name: 1 to 15 characters"));
    }
    if text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        return Err(format!("{text:?} is no interface name: it holds a slash, colon or space"));
    }
    Ok(())
}

pub(crate) fn address(text: &str) -> Verdict {
    let wrong = || format!("{text:?} is not ADDRESS/PREFIX");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u8>() {
        Ok(prefix) if prefix <= longest => Ok(()),
        _ => Err(wrong()),
    }
}

pub(crate) fn attr_type(text: &str) -> Verdict {
    one_of("type", text, &["string", "int", "uint", "boolean"])
}

pub(crate) fn attr_value(kind: &str, value: &str) -> Verdict {
    let fits = match kind {
        "int" => value.parse::<i64>().is_ok(),
        "uint" => value.parse::<u64>().is_ok(),
        "boolean" => matches!(value, "true" | "false"),
        _ => true,
    };
    if fits { Ok(()) } else { Err(format!("{value:?} is no {kind}")) }
}

pub(crate) fn user(text: &str) -> Verdict {
    if text.is_empty() || text.contains([':', '/', '\0', '\n']) {
        Err(format!("{text:?} is no user name"))
    } else {
        Ok(())
    }
}

pub(crate) fn auth(text: &str) -> Verdict {
    one_of("right", text, &["login", "manage", "clonefrom"])
}

pub(crate) fn restart(text: &str) -> Verdict {
    one_of("policy", text, &["no", "on-failure", "always"])
}

pub(crate) fn not_empty(text: &str) -> Verdict {
    if text.is_empty() { Err("it is empty".into()) } else { word_without_nul(text) }
}

pub(crate) fn one_of(what: &str, text: &str, known: &[&str]) -> Verdict {
    if known.contains(&text) {
        return Ok(());
    }
    let near = nearest(text, known.iter().copied());
    Err(match near {
        Some(near) => format!("{text:?} is no {what} known here; did you mean {near}?"),
        None if known.len() <= 8 => format!("{text:?} is no {what} known here: {}", known.join(", ")),
        None => format!("{text:?} is no {what} known here"),
    })
}

/// The known word most like `text`, when one is like it at all.
pub(crate) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::jaro_winkler(text, word), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "9", "payroll", "a.b-c_d", &"x".repeat(64)] {
            assert_eq!(name_rule(good), Ok(()), "{good}");
        }
        for bad in ["", "global", ".a", "-a", "_a", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(name_rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals_and_variables() {
        let signals = ["SIGTERM", "TERM", "15", "SIGRTMIN+3", "RTMIN", "SIGPWR"].map(signal_number);
        assert_eq!(signals, [Some(15), Some(15), Some(15), Some(37), Some(34), Some(30)]);
        for bad in ["", "0", "65", "-1", "SIGSIGTERM", "SIGRTMIN+300", "RTMIN+x", "term"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
        assert!(variable("A=").is_ok() && variable("A=b=c\nd").is_ok());
        assert!(variable("=b").is_err() && variable("A").is_err() && variable("A=\0").is_err());
        assert!(user_and_group("65535:0").is_ok() && user_and_group("a:b").is_ok());
        assert!(
            user_and_group("65536").is_err() && user_and_group("a:").is_err() && user_and_group("").is_err()
        );
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("512M"), Ok(512 << 20));
        assert_eq!(bytes("1t"), Ok(1 << 40));
        for bad in ["", "M", "1.5G", "-1", "12Q", "12é", "99999999999T", "+5"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(memory("0").is_err());
    }

    #[test]
    fn limits() {
        for good in ["1024", "1024:4096", "unlimited", "0:unlimited"] {
            assert_eq!(rctl_value(good), Ok(()), "{good}");
        }
        for bad in ["", ":", "4096:1024", "many", "1:2:3", "99999999999999999999"] {
            assert!(rctl_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_and_devices() {
        assert!(guest_path("/data").is_ok() && guest_path("/").is_err() && guest_path("//").is_err());
        assert!(absolute("data").is_err() && absolute("/a/../b").is_err() && absolute("/a..b").is_ok());
        assert!(device("/dev/fuse").is_ok() && device("/dev/").is_err() && device("/etc").is_err());
        assert!(init("sbin/init").is_err() && init("none").is_ok() && init("/sbin/init").is_ok());
    }

    #[test]
    fn a_wrong_word_names_its_neighbour() {
        assert!(brand("linus").unwrap_err().contains("did you mean linux?"));
        assert!(privilege("!net_rwa").unwrap_err().contains("did you mean net_raw?"));
        assert!(rctl_name("nofiles").unwrap_err().contains("did you mean nofile?"));
        assert!(privilege("NET_RAW").is_err());
    }

    #[test]
    fn hostids_and_addresses() {
        assert!(hostid("0x1a2b3c4d").is_ok() && hostid("0x").is_err() && hostid("0x123456789").is_err());
        assert!(hostid("1a2b").is_err() && hostid("0xzz").is_err());
        assert!(address("10.88.0.10/16").is_ok() && address("10.88.0.10").is_err());
        assert!(address("10.0.0.1/33").is_err() && address("fd00::1/64").is_ok());
    }
}
