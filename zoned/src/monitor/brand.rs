//! What a zone's configuration makes of its brand.

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use brands::distro;
use brands::engine::Compiled;
use brands::filter::FilterError;
use brands::platform;
use brands::table::Brand;
use brands::task::World;

use super::procfs::{self, Content};
use super::share::{self, Share};
use crate::config::{Config, Vsyscall, has_levels};
use crate::confine::boot::Kernel;

/// A brand at a zone's level, ready for its boot.
#[derive(Debug, Clone)]
pub struct Branded {
    /// For the boot.
    pub kernel: Kernel,
    /// For handlers.
    pub world: World,
    /// For the dispatch.
    pub compiled: Arc<Compiled>,
}

/// A brand's table for one world.
#[derive(Debug, Clone)]
struct Table {
    compiled: Arc<Compiled>,
    /// The program that process 1 of its zones is given.
    filter: Vec<libc::sock_filter>,
}

/// Those that are made, each with its brand and its world.
static SHARED: Mutex<Vec<(&str, World, Table)>> = Mutex::new(Vec::new());

impl Table {
    fn shared(brand: &Brand, world: &World) -> Option<Self> {
        let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shared.iter().find(|(name, other, _)| *name == brand.name && other == world);
        found.map(|(.., table)| table.clone())
    }

    fn of(brand: &Brand, world: &World) -> Result<Self, FilterError> {
        if let Some(table) = Self::shared(brand, world) {
            return Ok(table);
        }
        let mut compiled = Compiled::new(brand, world)?;
        let filter = compiled.take_program();
        let filter =
            filter.iter().map(|i| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        Ok(Self { compiled: Arc::new(compiled), filter })
    }
}

/// Why a configuration has no brand to go with it.
#[derive(Debug, thiserror::Error)]
pub enum BrandError {
    /// There is none of that name.
    #[error("no brand is called {0}; there are {1}")]
    Unknown(String, String),
    /// The level cannot be.
    #[error("kernel level {0}")]
    Level(String, #[source] brands::level::LevelError),
    /// Its table does not compile.
    #[error("compile brand {0}")]
    Compile(String, #[source] FilterError),
}

/// Whether the host has the vsyscall page: where it has none, no process shows it.
fn has_vsyscall() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        scan::vsyscall_mode(&maps) != "none"
    });
    *FOUND
}

/// Whether nothing says that programs of the root at `path` are of a time when none called into the page any more.
fn may_be_old(path: &Path) -> bool {
    !scan::is_past_vsyscall(path).unwrap_or(false)
}

/// Why programs of the root at `path` would die where they ask for the time, if they would: they call into a page that the
/// host has not, and nobody rewrites them.
pub fn page_is_missed(config: &Config, path: &Path) -> Option<&'static str> {
    let rewritten = has_levels(&config.brand) && config.vsyscall != Vsyscall::Host;
    let dies = !rewritten && !has_vsyscall() && scan::calls_vsyscall(path).unwrap_or(false);
    dies.then_some(
        "its programs call into the vsyscall page, which this host has not, and die of SIGSEGV: set brand to linux and \
         vsyscall to auto, or boot the host with vsyscall=xonly",
    )
}

/// What a zone's file systems are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disks {
    /// They may number inodes above 32 bits.
    pub wide_inodes: bool,
    /// What the zone writes is limited, and its file system does not tell programs so.
    pub has_quota: bool,
}

impl Branded {
    /// The brand of `config`; `arch` is what the zone's own programs are, where the configuration
    /// does not say; `root` is the zone's own, if it has one.
    pub fn of(
        config: &Config,
        arch: Option<&str>,
        bootargs: &[String],
        disks: Disks,
        root: Option<&Path>,
    ) -> Result<Self, BrandError> {
        let brand = brands::table::brand(&config.brand).ok_or_else(|| {
            let names: Vec<_> = brands::table::all().iter().map(|b| b.name).collect();
            BrandError::Unknown(config.brand.clone(), names.join(", "))
        })?;
        let arch = config.arch.clone().or_else(|| arch.map(str::to_owned));
        let level = match &config.kernel {
            None => None,
            Some(text) => Some(
                distro::resolve(text, arch.as_deref().unwrap_or("x86_64"))
                    .map_err(|e| BrandError::Level(text.clone(), e))?,
            ),
        };
        let host = match &config.host_kernel {
            None => None,
            Some(text) => Some(text.parse().map_err(|e| BrandError::Level(text.clone(), e))?),
        };
        let running = nix::sys::utsname::uname().ok();
        let told = |field: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            running.as_ref().map_or_else(String::new, |h| field(h).to_string_lossy().into_owned())
        };
        let platform = brand.platform(&platform::Request {
            level,
            arch,
            host_release: told(|h| h.release()),
            host_version: told(|h| h.version()),
            bootargs: bootargs.iter().map(|word| word.replace('\n', " ")).collect(),
            strict: config.strict,
            wide_inodes: disks.wide_inodes,
            has_quota: disks.has_quota,
            vsyscall: match config.vsyscall {
                Vsyscall::Rewrite => platform::Vsyscall::Rewrite,
                Vsyscall::Auto
                    if !has_vsyscall() && config.kernel.is_none() && root.is_some_and(may_be_old) =>
                {
                    platform::Vsyscall::Rewrite
                }
                Vsyscall::Auto if !has_vsyscall() => platform::Vsyscall::RewriteOld,
                Vsyscall::Auto | Vsyscall::Host => platform::Vsyscall::Host,
            },
            host,
        });
        let Table { compiled, filter } =
            Table::of(brand, &platform.world).map_err(|e| BrandError::Compile(config.brand.clone(), e))?;
        Ok(Self {
            kernel: Kernel {
                personality: platform.boot.personality,
                nofile: platform.boot.nofile,
                files: platform.boot.files,
                sysctls: platform.boot.sysctls,
                served: None,
                filter,
            },
            world: platform.world,
            compiled,
        })
    }

    /// Makes what zones of `config` and this world share, for them to find. To be called by the zygote: its monitors have
    /// it in its memory.
    pub fn share(&self, config: &Config) {
        let Some(brand) = brands::table::brand(&config.brand) else { return };
        if Table::shared(brand, &self.world).is_some() {
            return;
        }
        let table = Table { compiled: Arc::clone(&self.compiled), filter: self.kernel.filter.clone() };
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.push((brand.name, self.world.clone(), table));
    }

    /// Adds the level's files of /proc, which `owner` has on the host, and those that tell of the zone's share where that is
    /// to be shown. Where some of them change all are served by the monitor, which also keeps them out of what df(1)
    /// lists. A host without FUSE has them as they are now.
    pub fn show_proc(&mut self, share: &Arc<Share>, owner: u32) {
        let files: Vec<_> = brands::proc::files(&self.world).collect();
        let host = |path: &str| share.text(path);
        let text = |file: &brands::proc::File| file.content(&self.world, &host).into_bytes();
        let is_formed = |path: &str| files.iter().any(|file| file.path == path);
        let shared = share::FILES.into_iter().filter(|path| share.is_shown && !is_formed(path));
        let shared: Vec<&'static str> = shared.collect();
        if files.iter().any(|file| file.live) || !shared.is_empty() {
            let fixed =
                self.kernel.files.iter().map(|(path, text)| (path.clone(), Content::Fixed(text.clone())));
            let formed = files.iter().map(|&file| {
                // Where it tells of the share it changes with that.
                let live = file.live || share::FILES.contains(&file.path);
                let content = if live { Content::Live(file) } else { Content::Fixed(text(file)) };
                (file.path.to_owned(), content)
            });
            let shared = shared.iter().map(|path| ((*path).to_owned(), Content::Share(path)));
            match procfs::serve(fixed.chain(formed).chain(shared).collect(), &self.world, share, owner) {
                Ok(served) => {
                    self.kernel.served = Some((Arc::new(served.mount), served.paths));
                    self.kernel.files.clear();
                    return;
                }
                Err(error) => tracing::warn!(%error, "no FUSE: files of /proc stay as they are at boot"),
            }
        }
        self.kernel.files.extend(files.iter().map(|file| (file.path.to_owned(), text(file))));
        let shared = shared.iter().filter(|path| !matches!(**path, "stat" | "loadavg"));
        self.kernel.files.extend(shared.map(|path| ((*path).to_owned(), host(path).into_bytes())));
    }
}
