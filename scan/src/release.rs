//! The files by which a distribution says what it is.

use brands::distro::{self, Distro};
use serde::Serialize;

/// Where they lie, the more telling before the others: a Debian derivative has Debian's file too.
pub(crate) const FILES: [&str; 13] = [
    "etc/lsb-release",
    "etc/centos-release",
    "etc/rocky-release",
    "etc/almalinux-release",
    "etc/oracle-release",
    "etc/fedora-release",
    "etc/redhat-release",
    "etc/SuSE-release",
    "etc/slackware-version",
    "etc/os-release",
    "usr/lib/os-release",
    "etc/debian_version",
    "etc/alpine-release",
];
/// None is longer but a hostile one.
pub(crate) const LONGEST: usize = 4096;

/// A release file and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its path from the root.
    pub file: String,
    /// Its first line, or the name in it.
    pub text: String,
    /// The distribution that it means, if that is known here.
    pub distribution: Option<&'static str>,
}

/// Reads the release file at `path`, which is one of [`FILES`].
pub(crate) fn read(path: &str, bytes: &[u8]) -> Option<Release> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST)]).into_owned();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']))
    };
    let (shown, found) = match path {
        "etc/lsb-release" => {
            let (id, release) = (value("DISTRIB_ID")?, value("DISTRIB_RELEASE")?);
            (format!("{id} {release}"), of_id(&id.to_ascii_lowercase(), release))
        }
        "etc/os-release" | "usr/lib/os-release" => {
            let found = of_id(value("ID")?, value("VERSION_ID").unwrap_or(""));
            (value("PRETTY_NAME").unwrap_or(line).to_owned(), found)
        }
        "etc/debian_version" => (format!("Debian {line}"), debian(line)),
        "etc/slackware-version" => (line.to_owned(), numbered("slackware", number(line))),
        "etc/SuSE-release" => {
            let is_server = line.to_ascii_lowercase().contains("enterprise server");
            let text_of = |key: &str| {
                let line = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
                Some(line.trim_start().strip_prefix('=')?.trim())
            };
            let version = major(number(line));
            let found = sles(version, text_of("PATCHLEVEL").unwrap_or("0")).filter(|_| is_server);
            (line.to_owned(), found)
        }
        "etc/alpine-release" => (format!("Alpine {line}"), of_id("alpine", line)),
        _ => (line.to_owned(), red_hat(line)),
    };
    let text = crate::printable(shown.as_bytes()).chars().take(120).collect();
    Some(Release { file: format!("/{path}"), text, distribution: found.map(|distro| distro.name) })
}

fn of_id(id: &str, version: &str) -> Option<&'static Distro> {
    match id {
        "debian" => debian(version),
        "ubuntu" => distro::find(&format!("ubuntu{version}")),
        "rhel" | "centos" | "rocky" | "almalinux" | "ol" | "scientific" => {
            distro::find(&format!("el{}", major(version)))
        }
        "sles" | "sles_sap" => {
            let (version, pack) = version.split_once('.').unwrap_or((version, "0"));
            sles(version, pack)
        }
        "alpine" => alpine(version),
        "amzn" => distro::find(&format!("amzn{version}")),
        "fedora" => distro::find(&format!("f{}", major(version))),
        "slackware" => numbered("slackware", version),
        _ => None,
    }
}

/// By version and service pack, or the pack before it that is known here.
fn sles(version: &str, pack: &str) -> Option<&'static Distro> {
    let pack: u8 = major(pack).parse().ok().filter(|pack| *pack < 10)?;
    let packs = (1..=pack).rev().map(|pack| format!("sles{version}sp{pack}"));
    packs.chain([format!("sles{version}")]).find_map(|name| distro::find(&name))
}

/// By both numbers, or the release before it that is known here: its kernel is older, or the same.
fn alpine(version: &str) -> Option<&'static Distro> {
    let minor = version.strip_prefix("3.")?;
    let minor: u8 = minor.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    (0..=minor).rev().find_map(|minor| distro::find(&format!("alpine3.{minor}")))
}

/// `3.1` and `4.0` count by both numbers or by the first; a release in the making is named: `wheezy/sid`.
fn debian(text: &str) -> Option<&'static Distro> {
    let name = text.split('/').next()?;
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return distro::find(name).filter(|distro| distro.title.starts_with("Debian"));
    }
    distro::find(&format!("debian{}", two(name))).or_else(|| distro::find(&format!("debian{}", major(name))))
}

/// `CentOS release 5.11 (Final)`, `Red Hat Linux release 7.3 (Valhalla)`, `Fedora Core release 6 (Zod)`.
fn red_hat(line: &str) -> Option<&'static Distro> {
    let version = line.split("release ").nth(1)?;
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    if line.starts_with("Fedora Core") {
        return distro::find(&format!("fc{}", major(version)));
    }
    if line.starts_with("Fedora") {
        return distro::find(&format!("f{}", major(version)));
    }
    // "Red Hat Linux Advanced Server release 2.1AS" is the first Enterprise Linux.
    if version == "2.1" {
        return distro::find("el2.1");
    }
    if line.starts_with("Red Hat Linux") {
        return numbered("rhl", version);
    }
    distro::find(&format!("el{}", major(version)))
}

/// By both numbers, by the first, or the last release that has the first.
fn numbered(family: &str, version: &str) -> Option<&'static Distro> {
    let first = format!("{family}{}", major(version));
    distro::find(&format!("{family}{}", two(version))).or_else(|| distro::find(&first)).or_else(|| {
        let series = format!("{first}.");
        distro::ALL.iter().rfind(|distro| !major(version).is_empty() && distro.name.starts_with(&series))
    })
}

fn number(line: &str) -> &str {
    line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("")
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or("")
}

fn two(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_files_name_their_distribution() {
        for (path, text, want) in [
            ("etc/redhat-release", "CentOS release 5.11 (Final)\n", Some("el5")),
            ("etc/redhat-release", "CentOS Linux release 7.9.2009 (Core)\n", Some("el7")),
            ("etc/redhat-release", "Red Hat Enterprise Linux AS release 3 (Taroon)", Some("el3")),
            ("etc/redhat-release", "Red Hat Linux Advanced Server release 2.1AS (Pensacola)", Some("el2.1")),
            ("etc/redhat-release", "Red Hat Linux release 7.3 (Valhalla)", Some("rhl7.3")),
            ("etc/redhat-release", "Red Hat Linux release 5.1 (Manhattan)", Some("rhl5.2")),
            ("etc/redhat-release", "Fedora Core release 6 (Zod)", Some("fc6")),
            ("etc/fedora-release", "Fedora release 40 (Forty)", None),
            ("etc/debian_version", "3.1\n", Some("sarge")),
            ("etc/debian_version", "6.0.10\n", Some("squeeze")),
            ("etc/debian_version", "wheezy/sid\n", Some("wheezy")),
            ("etc/debian_version", "testing/unstable\n", None),
            ("etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=8.04\n", Some("hardy")),
            ("etc/slackware-version", "Slackware 12.0.0\n", Some("slackware12")),
            ("etc/SuSE-release", "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\n", Some("sles11")),
            ("etc/SuSE-release", "openSUSE 11.4 (i586)\n", None),
            ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n", Some("bookworm")),
            ("usr/lib/os-release", "ID=\"rocky\"\nVERSION_ID=\"9.4\"\n", Some("el9")),
            ("etc/os-release", "ID=\"sles\"\nVERSION_ID=\"15.4\"\n", Some("sles15sp4")),
            ("etc/os-release", "ID=\"sles\"\nVERSION_ID=\"15.1\"\n", Some("sles15")),
            ("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2\"\n", Some("amzn2")),
            (
                "etc/SuSE-release",
                "SUSE Linux Enterprise Server 11 (i586)\nPATCHLEVEL = 4\n",
                Some("sles11sp4"),
            ),
            ("etc/SuSE-release", "SUSE Linux Enterprise Server 12\nPATCHLEVEL = 4\n", Some("sles12sp3")),
            ("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n", Some("alpine3.20")),
            ("etc/alpine-release", "3.7.0\n", Some("alpine3.6")),
            ("etc/alpine-release", "3.21.0_alpha20240807\n", Some("alpine3.20")),
            ("etc/alpine-release", "2.6.6\n", None),
            ("etc/os-release", "ID=fedora\nVERSION_ID=20\n", Some("f20")),
        ] {
            assert_eq!(read(path, text.as_bytes()).unwrap().distribution, want, "{path} {text}");
        }
        assert_eq!(read("etc/redhat-release", b"\n\n"), None);
        assert!(read("etc/redhat-release", b"release \xff\x1b[2J").unwrap().distribution.is_none());
    }
}
