//! Distributions as names for levels: `el5` is the kernel that Red Hat Enterprise Linux 5 ran.
//!
//! A release is what `uname -r` said there: of the last minor release where one kernel line was kept up for
//! years, else of the release itself; the level is what counts.
//!
//! Names have been held against what machines of its time printed: logs, reports of bugs, boot menus and lists of
//! packages in public archives that give the release beside the distribution (`Red Hat Linux 6.2`, `Fedora Core 4`,
//! `Ubuntu 8.04, kernel 2.6.24-16-generic`, `Debian 4.9.30-2 (2017-06-12)`). SUSE's are from the table in its library
//! for supportconfig; Slackware's to 8.1 from the README and ChangeLog of its discs. Of Alpine only the releases are
//! named whose kernels could be found so; of Amazon Linux and Alpine the build is one of several. Not found so:
//! Slackware 9.1 and 15.0, and Debian's hamm, slink and potato.

use crate::level::{Level, LevelError};

/// One release of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distro {
    /// The name that is shown.
    pub name: &'static str,
    /// Others that mean the same.
    pub aliases: &'static [&'static str],
    /// What it called itself.
    pub title: &'static str,
    /// uname(2) `release` of its kernel; `{m}` is the machine (x86_64, i686), `{d}` Debian's word for it
    /// (amd64, 686).
    release: &'static str,
}

const fn distro(
    name: &'static str,
    aliases: &'static [&'static str],
    title: &'static str,
    release: &'static str,
) -> Distro {
    Distro { name, aliases, title, release }
}

/// Every distribution with a name, families together, old before new.
#[rustfmt::skip]
pub static ALL: &[Distro] = &[
    distro("rhl5.2", &[], "Red Hat Linux 5.2", "2.0.36-0.7"),
    distro("rhl6.0", &[], "Red Hat Linux 6.0", "2.2.5-15"),
    distro("rhl6.2", &[], "Red Hat Linux 6.2", "2.2.14-5.0"),
    distro("rhl7.0", &["rhl7"], "Red Hat Linux 7", "2.2.16-22"),
    distro("rhl7.1", &[], "Red Hat Linux 7.1", "2.4.2-2"),
    distro("rhl7.2", &[], "Red Hat Linux 7.2", "2.4.7-10"),
    distro("rhl7.3", &[], "Red Hat Linux 7.3", "2.4.18-3"),
    distro("rhl8.0", &["rhl8"], "Red Hat Linux 8.0", "2.4.18-14"),
    distro("rhl9", &[], "Red Hat Linux 9", "2.4.20-8"),
    distro("el2.1", &["rhel2.1"], "Red Hat Enterprise Linux 2.1", "2.4.9-e.3"),
    distro("el3", &["rhel3", "centos3"], "Red Hat Enterprise Linux 3", "2.4.21-4.EL"),
    distro("el4", &["rhel4", "centos4"], "Red Hat Enterprise Linux 4", "2.6.9-5.EL"),
    distro("el5", &["rhel5", "centos5", "ol5", "sl5"], "Red Hat Enterprise Linux 5", "2.6.18-398.el5"),
    distro("el6", &["rhel6", "centos6", "ol6", "sl6"], "Red Hat Enterprise Linux 6", "2.6.32-754.el6.{m}"),
    distro("el7", &["rhel7", "centos7", "ol7", "sl7"], "Red Hat Enterprise Linux 7", "3.10.0-1160.el7.{m}"),
    distro("el8", &["rhel8", "centos8", "ol8", "rocky8", "alma8", "almalinux8"], "Red Hat Enterprise Linux 8",
        "4.18.0-553.el8_10.{m}"),
    distro("el9", &["rhel9", "centos9", "ol9", "rocky9", "alma9", "almalinux9"], "Red Hat Enterprise Linux 9",
        "5.14.0-427.13.1.el9_4.{m}"),
    distro("el10", &["rhel10", "ol10", "rocky10", "alma10", "almalinux10"], "Red Hat Enterprise Linux 10",
        "6.12.0-124.8.1.el10_1.{m}"),
    distro("fc1", &["fedora1"], "Fedora Core 1", "2.4.22-1.2115.nptl"),
    distro("fc2", &["fedora2"], "Fedora Core 2", "2.6.5-1.358"),
    distro("fc3", &["fedora3"], "Fedora Core 3", "2.6.9-1.667"),
    distro("fc4", &["fedora4"], "Fedora Core 4", "2.6.11-1.1369_FC4"),
    distro("fc5", &["fedora5"], "Fedora Core 5", "2.6.15-1.2054_FC5"),
    distro("fc6", &["fedora6"], "Fedora Core 6", "2.6.18-1.2798.fc6"),
    distro("f7", &["fedora7"], "Fedora 7", "2.6.21-1.3194.fc7"),
    distro("f8", &["fedora8"], "Fedora 8", "2.6.23.1-42.fc8"),
    distro("f9", &["fedora9"], "Fedora 9", "2.6.25-14.fc9.{m}"),
    distro("f10", &["fedora10"], "Fedora 10", "2.6.27.5-117.fc10.{m}"),
    distro("f11", &["fedora11"], "Fedora 11", "2.6.29.4-167.fc11.{m}"),
    distro("f12", &["fedora12"], "Fedora 12", "2.6.31.5-127.fc12.{m}"),
    distro("f13", &["fedora13"], "Fedora 13", "2.6.33.3-85.fc13.{m}"),
    distro("f14", &["fedora14"], "Fedora 14", "2.6.35.6-45.fc14.{m}"),
    distro("f15", &["fedora15"], "Fedora 15", "2.6.38.6-26.rc1.fc15.{m}"),
    distro("f16", &["fedora16"], "Fedora 16", "3.1.0-7.fc16.{m}"),
    distro("f17", &["fedora17"], "Fedora 17", "3.3.4-5.fc17.{m}"),
    distro("f18", &["fedora18"], "Fedora 18", "3.6.10-4.fc18.{m}"),
    distro("f19", &["fedora19"], "Fedora 19", "3.9.5-301.fc19.{m}"),
    distro("f20", &["fedora20"], "Fedora 20", "3.11.10-301.fc20.{m}"),
    distro("f21", &["fedora21"], "Fedora 21", "3.17.4-301.fc21.{m}"),
    distro("amzn2", &["amazonlinux2"], "Amazon Linux 2", "4.14.133-113.112.amzn2.{m}"),
    distro("amzn2023", &["al2023", "amazonlinux2023"], "Amazon Linux 2023", "6.1.27-43.48.amzn2023.{m}"),
    distro("hamm", &["debian2.0"], "Debian 2.0 hamm", "2.0.34"),
    distro("slink", &["debian2.1"], "Debian 2.1 slink", "2.0.36"),
    distro("potato", &["debian2.2"], "Debian 2.2 potato", "2.2.17"),
    distro("woody", &["debian3.0"], "Debian 3.0 woody", "2.4.18-bf2.4"),
    distro("sarge", &["debian3.1"], "Debian 3.1 sarge", "2.6.8-2-{d}"),
    distro("etch", &["debian4"], "Debian 4.0 etch", "2.6.18-6-{d}"),
    distro("lenny", &["debian5"], "Debian 5.0 lenny", "2.6.26-2-{d}"),
    distro("squeeze", &["debian6"], "Debian 6.0 squeeze", "2.6.32-5-{d}"),
    distro("wheezy", &["debian7"], "Debian 7 wheezy", "3.2.0-4-{d}"),
    distro("jessie", &["debian8"], "Debian 8 jessie", "3.16.0-4-{d}"),
    distro("stretch", &["debian9"], "Debian 9 stretch", "4.9.0-3-{d}"),
    distro("buster", &["debian10"], "Debian 10 buster", "4.19.0-5-{d}"),
    distro("bullseye", &["debian11"], "Debian 11 bullseye", "5.10.0-8-{d}"),
    distro("bookworm", &["debian12"], "Debian 12 bookworm", "6.1.0-9-{d}"),
    distro("trixie", &["debian13"], "Debian 13 trixie", "6.12.41+deb13-{d}"),
    distro("warty", &["ubuntu4.10"], "Ubuntu 4.10", "2.6.8.1-3-386"),
    distro("hoary", &["ubuntu5.04"], "Ubuntu 5.04", "2.6.10-5-386"),
    distro("breezy", &["ubuntu5.10"], "Ubuntu 5.10", "2.6.12-9-386"),
    distro("dapper", &["ubuntu6.06"], "Ubuntu 6.06 LTS", "2.6.15-23-386"),
    distro("hardy", &["ubuntu8.04"], "Ubuntu 8.04 LTS", "2.6.24-16-generic"),
    distro("lucid", &["ubuntu10.04"], "Ubuntu 10.04 LTS", "2.6.32-21-generic"),
    distro("precise", &["ubuntu12.04"], "Ubuntu 12.04 LTS", "3.2.0-23-generic"),
    distro("trusty", &["ubuntu14.04"], "Ubuntu 14.04 LTS", "3.13.0-24-generic"),
    distro("xenial", &["ubuntu16.04"], "Ubuntu 16.04 LTS", "4.4.0-21-generic"),
    distro("bionic", &["ubuntu18.04"], "Ubuntu 18.04 LTS", "4.15.0-20-generic"),
    distro("focal", &["ubuntu20.04"], "Ubuntu 20.04 LTS", "5.4.0-26-generic"),
    distro("jammy", &["ubuntu22.04"], "Ubuntu 22.04 LTS", "5.15.0-25-generic"),
    distro("noble", &["ubuntu24.04"], "Ubuntu 24.04 LTS", "6.8.0-31-generic"),
    distro("sles9", &["sle9"], "SUSE Linux Enterprise Server 9", "2.6.5-7.97-default"),
    distro("sles10", &["sle10"], "SUSE Linux Enterprise Server 10", "2.6.16.21-0.8-default"),
    distro("sles11", &["sle11"], "SUSE Linux Enterprise Server 11", "2.6.27.19-5-default"),
    distro("sles11sp1", &["sle11sp1"], "SUSE Linux Enterprise Server 11 SP1", "2.6.32.12-0.7-default"),
    distro("sles11sp2", &["sle11sp2"], "SUSE Linux Enterprise Server 11 SP2", "3.0.13-0.27-default"),
    distro("sles11sp3", &["sle11sp3"], "SUSE Linux Enterprise Server 11 SP3", "3.0.76-0.11-default"),
    distro("sles11sp4", &["sle11sp4"], "SUSE Linux Enterprise Server 11 SP4", "3.0.101-63-default"),
    distro("sles12", &["sle12"], "SUSE Linux Enterprise Server 12", "3.12.28-4-default"),
    distro("sles12sp1", &["sle12sp1"], "SUSE Linux Enterprise Server 12 SP1", "3.12.49-11-default"),
    distro("sles12sp2", &["sle12sp2"], "SUSE Linux Enterprise Server 12 SP2", "4.4.21-69-default"),
    distro("sles12sp3", &["sle12sp3"], "SUSE Linux Enterprise Server 12 SP3", "4.4.73-5-default"),
    distro("sles12sp5", &["sle12sp5"], "SUSE Linux Enterprise Server 12 SP5", "4.12.14-120-default"),
    distro("sles15", &["sle15"], "SUSE Linux Enterprise Server 15", "4.12.14-23-default"),
    distro("sles15sp2", &["sle15sp2"], "SUSE Linux Enterprise Server 15 SP2", "5.3.18-22-default"),
    distro("sles15sp4", &["sle15sp4"], "SUSE Linux Enterprise Server 15 SP4", "5.14.21-150400.22-default"),
    distro("alpine3.6", &[], "Alpine Linux 3.6", "4.9.32-0-hardened"),
    distro("alpine3.8", &[], "Alpine Linux 3.8", "4.14.52-0-virt"),
    distro("alpine3.12", &[], "Alpine Linux 3.12", "5.4.43-1-lts"),
    distro("alpine3.14", &[], "Alpine Linux 3.14", "5.10.43-0-lts"),
    distro("alpine3.16", &[], "Alpine Linux 3.16", "5.15.41-0-lts"),
    distro("alpine3.18", &[], "Alpine Linux 3.18", "6.1.27-0-lts"),
    distro("alpine3.20", &[], "Alpine Linux 3.20", "6.6.31-0-lts"),
    distro("slackware7", &["slackware7.0"], "Slackware 7.0", "2.2.13"),
    distro("slackware8.1", &[], "Slackware 8.1", "2.4.18"),
    distro("slackware9.1", &[], "Slackware 9.1", "2.4.22"),
    distro("slackware10", &["slackware10.0"], "Slackware 10.0", "2.4.26"),
    distro("slackware12", &["slackware12.0"], "Slackware 12.0", "2.6.21.5"),
    distro("slackware13", &["slackware13.0"], "Slackware 13.0", "2.6.29.6"),
    distro("slackware14", &["slackware14.0"], "Slackware 14.0", "3.2.29"),
    distro("slackware15", &["slackware15.0"], "Slackware 15.0", "5.15.19"),
];

impl Distro {
    /// uname(2) `release` of its kernel on a machine: x86_64, or i386 to i686.
    pub fn release(&self, machine: &str) -> String {
        let debian = if machine == "x86_64" { "amd64" } else { "686" };
        self.release.replace("{m}", machine).replace("{d}", debian)
    }

    /// The level of its kernel.
    pub fn level(&self) -> Level {
        // A test reads them all.
        Level::parse_release(&self.release("x86_64")).map_or(Level::newest(), |(level, _)| level)
    }

    fn is_called(&self, text: &str) -> bool {
        std::iter::once(&self.name).chain(self.aliases).any(|name| name.eq_ignore_ascii_case(text))
    }
}

/// The distribution of this name.
pub fn find(name: &str) -> Option<&'static Distro> {
    ALL.iter().find(|distro| distro.is_called(name))
}

/// Reads `kernel = "…"`: a release, or a distribution's name. Gives the level and what uname(2) shows as
/// `release` on a machine.
pub fn resolve(text: &str, machine: &str) -> Result<(Level, String), LevelError> {
    if let Some(distro) = find(text) {
        return Level::parse_release(&distro.release(machine));
    }
    if text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.len() <= 32 {
        return Err(LevelError::Name { text: text.to_owned(), near: near(text) });
    }
    Level::parse_release(text)
}

/// Names that begin as `text` does, a few, longest agreement first.
fn near(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    let same = |name: &str| name.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    let best = ALL.iter().map(|distro| same(distro.name)).max().unwrap_or(0);
    let names = ALL.iter().map(|distro| distro.name).filter(|name| best > 0 && same(name) == best);
    let names: Vec<_> = names.take(6).collect();
    if names.is_empty() { "el6, wheezy, trusty".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_distribution_is_a_level_on_both_machines() {
        for distro in ALL {
            for machine in ["x86_64", "i686"] {
                let (level, release) = resolve(distro.name, machine).unwrap();
                assert_eq!(level, distro.level(), "{}", distro.name);
                assert!(!release.contains('{') && release.len() < 65, "{release}");
            }
        }
        let shown = |name, machine| resolve(name, machine).unwrap().1;
        assert_eq!(shown("el6", "i686"), "2.6.32-754.el6.i686");
        assert_eq!(shown("CentOS7", "x86_64"), "3.10.0-1160.el7.x86_64");
        assert_eq!(shown("wheezy", "x86_64"), "3.2.0-4-amd64");
        assert_eq!(shown("2.6.18-92.el5", "x86_64"), "2.6.18-92.el5");
    }

    #[test]
    fn a_name_means_one_distribution() {
        let mut seen = std::collections::BTreeSet::new();
        for name in ALL.iter().flat_map(|d| std::iter::once(&d.name).chain(d.aliases)) {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_its_neighbours() {
        let said = |text| resolve(text, "x86_64").unwrap_err().to_string();
        assert_eq!(
            said("whezy"),
            "\"whezy\" is neither a kernel release nor a distribution known here; near it: wheezy"
        );
        assert!(said("el99").contains("el9"), "{}", said("el99"));
        assert!(said("9.9").contains("no kernel release 9.9"));
    }
}
