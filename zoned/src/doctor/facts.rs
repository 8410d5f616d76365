//! What the kernel says of itself: release, configuration, modules, file systems.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::line;

/// Major and minor number of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kernel(pub(super) u32, pub(super) u32);

impl Kernel {
    fn of(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        Self(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

pub(super) struct Facts {
    pub(super) release: String,
    pub(super) kernel: Kernel,
    pub(super) file_systems: Vec<String>,
    /// `CONFIG_` options that are y or m; none where the kernel's configuration is not to be found.
    options: Option<HashMap<String, char>>,
    /// Modules that are built in or can be loaded, with `_` for `-`.
    modules: HashSet<String>,
}

impl Facts {
    pub(super) fn gather() -> Self {
        let release = line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "not known".to_owned());
        let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        Self {
            kernel: Kernel::of(&release),
            file_systems: file_systems
                .lines()
                .filter_map(|l| l.split_whitespace().last())
                .map(str::to_owned)
                .collect(),
            options: options(&release),
            modules: modules(&release),
            release,
        }
    }

    /// Whether the kernel was configured with it, as code or module, where that is known.
    pub(super) fn config(&self, option: &str) -> Option<bool> {
        self.options.as_ref().map(|options| options.contains_key(option))
    }

    /// Whether it is there: built in, loaded, or a module whose file is there.
    pub(super) fn has(&self, option: &str, module: &str) -> Option<bool> {
        if Path::new("/sys/module").join(module).exists() || self.modules.contains(module) {
            return Some(true);
        }
        match &self.options {
            Some(options) => Some(options.get(option) == Some(&'y')),
            // The list of modules is whole where there is one.
            None if !self.modules.is_empty() => Some(false),
            None => None,
        }
    }
}

fn options(release: &str) -> Option<HashMap<String, char>> {
    let mut text = String::new();
    match File::open("/proc/config.gz") {
        Ok(packed) => flate2::read::GzDecoder::new(packed).read_to_string(&mut text).ok()?,
        Err(_) => File::open(format!("/boot/config-{release}")).ok()?.read_to_string(&mut text).ok()?,
    };
    let option = |line: &str| {
        let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
        let value = value.chars().next().filter(|c| matches!(c, 'y' | 'm'))?;
        Some((name.to_owned(), value))
    };
    Some(text.lines().filter_map(option).collect())
}

fn modules(release: &str) -> HashSet<String> {
    let dir = Path::new("/lib/modules").join(release);
    let text = |name| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let name = |line: &str| {
        // `kernel/net/bridge/bridge.ko.xz: kernel/…`
        let file = line.split(':').next()?.rsplit('/').next()?;
        Some(file.split('.').next()?.replace('-', "_"))
    };
    [text("modules.dep"), text("modules.builtin")]
        .iter()
        .flat_map(|text| text.lines().filter_map(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare() {
        assert_eq!(Kernel::of("6.18.44-fc-v595"), Kernel(6, 18));
        assert!(Kernel::of("5.10.0-30-amd64") >= Kernel(5, 10));
        assert!(Kernel::of("5.4.0") < Kernel(5, 10) && Kernel(6, 1) > Kernel(5, 19));
        assert_eq!(Kernel::of("nonsense"), Kernel(0, 0));
    }
}
