//! What many files come to.

use std::collections::BTreeMap;

use brands::distro::{self, Distro};
use brands::level::Level;
use serde::Serialize;

use crate::elf::Linkage;
use crate::host::{Host, Lack};
use crate::libc::Libc;
use crate::look::{Kind, look};
use crate::release::{self, Release};
use crate::version::Version;

/// More C libraries than any root has; a hostile one may make up names.
const MOST_KINDS: usize = 64;

/// How many there are, and the first of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Path of the first by name, in whatever order a folder lists them.
    pub first: Option<String>,
}

impl Tally {
    fn add(&mut self, path: &str) {
        self.count += 1;
        if self.first.as_deref().is_none_or(|first| path < first) {
            self.first = Some(path.to_owned());
        }
    }
}

/// A release of the kernel that a file asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The release.
    pub release: String,
    /// What asks for it: .note.ABI-tag, or the name of a call.
    pub what: String,
    /// The file.
    pub path: String,
    #[serde(skip)]
    level: Level,
}

/// The level that fits, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The distribution's name.
    pub distribution: Option<&'static str>,
    /// uname(2) `release`, for `kernel`.
    pub kernel: String,
    /// The level of that release.
    pub level: String,
    /// What it was told by.
    pub by: String,
}

impl Fit {
    /// Whether a host of level `host` is so much younger that the root is better told its own kernel. What came
    /// with 5.0 or later gets by with any younger kernel.
    pub fn is_old_on(&self, host: Level) -> bool {
        Level::parse_release(&self.kernel).is_ok_and(|(level, _)| level < host && level < Level::new(5, 0, 0))
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was scanned.
    pub path: String,
    /// `file`, `folder` or `archive`.
    pub kind: &'static str,
    /// The file, where it is one.
    pub program: Option<Kind>,
    /// Files looked at.
    pub files: u64,
    /// ELF files of each ABI.
    pub abis: BTreeMap<String, u64>,
    /// C libraries that are there.
    pub libcs: Vec<Libc>,
    /// ELF programs and libraries by the C library that they need.
    pub needs_libc: BTreeMap<&'static str, u64>,
    /// Release files.
    pub releases: Vec<Release>,
    /// The level that fits.
    pub fit: Option<Fit>,
    /// The lowest level that its programs run at, by their own notes.
    pub lowest: Option<Need>,
    /// The youngest call in static programs; where it fails there may be another way.
    pub youngest: Option<Need>,
    /// Files that use the vsyscall page.
    pub vsyscall: Tally,
    /// Static programs.
    pub statics: Tally,
    /// a.out programs.
    pub aout: Tally,
    /// Scripts.
    pub scripts: u64,
    /// ELF files that make no sense.
    pub damaged: Tally,
    /// What was not looked at, or not wholly: too deep, too long, not readable.
    pub skipped: Tally,
    /// What this host lacks for it.
    pub lacks: Vec<Lack>,
}

/// Gathers a report, file by file.
pub(crate) struct Collector<'a> {
    told: &'a mut dyn FnMut(u64),
    report: Report,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(told: &'a mut dyn FnMut(u64)) -> Self {
        let report = Report {
            path: String::new(),
            kind: "",
            program: None,
            files: 0,
            abis: BTreeMap::new(),
            libcs: Vec::new(),
            needs_libc: BTreeMap::new(),
            releases: Vec::new(),
            fit: None,
            lowest: None,
            youngest: None,
            vsyscall: Tally::default(),
            statics: Tally::default(),
            aout: Tally::default(),
            scripts: 0,
            damaged: Tally::default(),
            skipped: Tally::default(),
            lacks: Vec::new(),
        };
        Self { told, report }
    }

    /// Whether all of a file is of interest, by its path from the root and its first four bytes.
    pub(crate) fn wants(path: &[u8], head: &[u8]) -> bool {
        head.starts_with(b"\x7fELF") || release::FILES.iter().any(|file| file.as_bytes() == path)
    }

    /// Something that is there and was not read.
    pub(crate) fn skip(&mut self, path: &[u8]) {
        self.report.skipped.add(&shown(path));
    }

    /// Takes a file, `path` without a leading slash.
    pub(crate) fn file(&mut self, path: &[u8], bytes: &[u8]) {
        self.report.files += 1;
        (self.told)(self.report.files);
        if let Some(known) = release::FILES.iter().find(|file| file.as_bytes() == path) {
            self.report.releases.extend(release::read(known, bytes));
            return;
        }
        let shown = shown(path);
        let name = shown.rsplit('/').next().unwrap_or_default();
        match look(bytes, name) {
            Some(Kind::Elf(program)) => self.program(&shown, *program),
            Some(Kind::AOut { .. }) => self.report.aout.add(&shown),
            Some(Kind::Script { .. }) => self.report.scripts += 1,
            None if bytes.starts_with(b"\x7fELF") => self.report.damaged.add(&shown),
            None => {}
        }
    }

    fn program(&mut self, path: &str, program: crate::Program) {
        let report = &mut self.report;
        if report.abis.contains_key(&program.abi) || report.abis.len() < MOST_KINDS {
            *report.abis.entry(program.abi).or_default() += 1;
        }
        if program.vsyscall.is_used() && program.linkage != Linkage::Object {
            report.vsyscall.add(path);
        }
        if program.linkage == Linkage::Static {
            report.statics.add(path);
        }
        match program.libc {
            Some(libc) if !libc.own => *report.needs_libc.entry(libc.name).or_default() += 1,
            Some(libc) if !report.libcs.contains(&libc) && report.libcs.len() < MOST_KINDS => {
                report.libcs.push(libc);
            }
            _ => {}
        }
        let need = |level: Level, what: &str| Need {
            release: level.to_string(),
            what: what.to_owned(),
            path: path.to_owned(),
            level,
        };
        if let Some(kernel) = program.kernel {
            raise(&mut report.lowest, need(kernel.level(), ".note.ABI-tag"));
        }
        if let Some(youngest) = program.calls.and_then(|calls| calls.youngest)
            && let Ok(level) = youngest.since.parse()
        {
            raise(&mut report.youngest, need(level, &youngest.call));
        }
    }

    /// What it all comes to.
    pub(crate) fn report(self, path: String, kind: &'static str) -> Report {
        let mut report = self.report;
        (report.path, report.kind) = (path, kind);
        report.releases.sort_by_key(|found| release::FILES.iter().position(|file| found.file[1..] == **file));
        report.libcs.sort();
        report.fit = fit(&report);
        report.lacks = Host::here().lacks(&report);
        report
    }
}

fn raise(highest: &mut Option<Need>, need: Need) {
    if highest.as_ref().is_none_or(|highest| (highest.level, &need.path) < (need.level, &highest.path)) {
        *highest = Some(need);
    }
}

fn shown(path: &[u8]) -> String {
    crate::printable(&path[path.len().saturating_sub(1024)..])
}

/// The release that came with each version of glibc, the last distribution here that had it.
const GLIBC: [(Version, &str); 21] = [
    (Version([2, 0, 0]), "rhl5.2"),
    (Version([2, 1, 0]), "rhl6.2"),
    (Version([2, 2, 0]), "rhl7.3"),
    (Version([2, 3, 0]), "rhl9"),
    (Version([2, 3, 4]), "el4"),
    (Version([2, 5, 0]), "el5"),
    (Version([2, 7, 0]), "lenny"),
    (Version([2, 11, 0]), "squeeze"),
    (Version([2, 12, 0]), "el6"),
    (Version([2, 13, 0]), "wheezy"),
    (Version([2, 17, 0]), "el7"),
    (Version([2, 19, 0]), "jessie"),
    (Version([2, 23, 0]), "xenial"),
    (Version([2, 24, 0]), "stretch"),
    (Version([2, 27, 0]), "bionic"),
    (Version([2, 28, 0]), "el8"),
    (Version([2, 31, 0]), "bullseye"),
    (Version([2, 34, 0]), "el9"),
    (Version([2, 36, 0]), "bookworm"),
    (Version([2, 39, 0]), "el10"),
    (Version([2, 41, 0]), "trixie"),
];

/// By release file; else by the C library's age; else by the oldest kernel that the programs run on.
fn fit(report: &Report) -> Option<Fit> {
    let machine = if report.abis.contains_key("amd64") { "x86_64" } else { "i686" };
    let of = |distro: &'static Distro, by: String| Fit {
        distribution: Some(distro.name),
        kernel: distro.release(machine),
        level: distro.level().to_string(),
        by,
    };
    let released = report.releases.iter().find_map(|found| {
        Some(of(distro::find(found.distribution?)?, format!("{} ({})", found.file, found.text)))
    });
    let aged = || {
        let glibc = report.libcs.iter().filter(|libc| libc.name == "glibc");
        if let Some(version) = glibc.filter_map(|libc| libc.version).max() {
            let (_, name) = GLIBC.iter().rfind(|(since, _)| *since <= version)?;
            let found = distro::find(name)?;
            // A glibc can be newer than its neighbour in the table, and made for newer kernels.
            return Some(match &report.lowest {
                Some(need) if need.level > found.level() => {
                    let kernel = need.release.clone();
                    let by = format!("the .note.ABI-tag of {}", need.path);
                    Fit { distribution: None, level: kernel.clone(), kernel, by }
                }
                _ => of(found, format!("its glibc {version}")),
            });
        }
        let old = report.libcs.iter().any(|libc| matches!(libc.name, "libc5" | "libc4"));
        let old = old || report.needs_libc.contains_key("libc5") || report.aout.count > 0;
        let by = "programs of before glibc".to_owned();
        let plain = |level: &str, by| Fit {
            distribution: None,
            kernel: level.to_owned(),
            level: level.to_owned(),
            by,
        };
        // The last kernel of their time; the notes of programs do not say a level that is none.
        old.then(|| plain("2.0.36", by)).or_else(|| {
            let lowest = report.lowest.as_ref().filter(|n| Level::parse_release(&n.release).is_ok())?;
            Some(plain(&lowest.release, format!("the .note.ABI-tag of {}", lowest.path)))
        })
    };
    released.or_else(aged)
}
