//! A kernel of Debian's cloud flavour, which is small and has what a virtual machine needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Modules that a machine needs to come to its disk.
const FOR_THE_DISK: &[&str] = &["virtio_pci", "virtio_blk"];

pub(crate) struct Kernel {
    /// What `uname -r` says.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`, with its list of dependencies.
    pub(crate) modules: PathBuf,
    pub(crate) initramfs: PathBuf,
}

impl Kernel {
    /// The kernel of a suite, fetched once.
    pub(crate) fn get(suite: &str, cache: &Path) -> Result<Self> {
        let folder = cache.join(suite);
        if !folder.is_dir() {
            let new = cache.join(format!("{suite}.new"));
            let _ = fs::remove_dir_all(&new);
            println!("fetch the kernel of {suite}");
            mmdebstrap(&["--variant=extract", "--include=linux-image-cloud-amd64"], suite, &new)?;
            let release = release(&new)?;
            unpack_modules(&new, &release)?;
            make_initramfs(&new, &release)?;
            fs::rename(&new, &folder).with_context(|| format!("rename to {}", folder.display()))?;
        }
        let release = release(&folder)?;
        let modules = modules(&folder).join(&release);
        // Debian's kernels from 7.2 on stand beside their modules.
        let images = [folder.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = images.into_iter().find(|image| image.is_file());
        Ok(Self {
            image: image.with_context(|| format!("no image of {release}"))?,
            modules,
            initramfs: folder.join("initramfs"),
            release,
        })
    }
}

pub(super) fn mmdebstrap(how: &[&str], suite: &str, target: &Path) -> Result<()> {
    let mut make = Command::new("mmdebstrap");
    // A mirror that stands still has lists of sid that are past their date; they are signed all the same.
    make.args(["--quiet", "--aptopt=Acquire::Check-Valid-Until \"false\""]).args(how).arg(suite).arg(target);
    // One mirror by name: mmdebstrap adds the security archive of a suite by itself, and that loses the packages of
    // suites that are no longer looked after.
    make.arg(std::env::var_os("DEBIAN_MIRROR").unwrap_or_else(|| "http://deb.debian.org/debian".into()));
    ensure!(make.status().context("run mmdebstrap")?.success(), "mmdebstrap {suite} failed");
    Ok(())
}

/// `lib` is a link to `usr/lib` where the suite has merged them.
fn modules(folder: &Path) -> PathBuf {
    let merged = folder.join("usr/lib/modules");
    if merged.is_dir() { merged } else { folder.join("lib/modules") }
}

fn release(folder: &Path) -> Result<String> {
    let modules = modules(folder);
    let names = fs::read_dir(&modules).with_context(|| format!("read {}", modules.display()))?;
    let mut found: Vec<_> = names.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    found.sort();
    found.pop().with_context(|| format!("no kernel in {}", modules.display()))
}

/// Modules are packed from Linux 6.12 of Debian on, and busybox may not know how.
fn unpack_modules(folder: &Path, release: &str) -> Result<()> {
    let below = modules(folder).join(release);
    let script = "find \"$0\" -name '*.ko.xz' -exec xz -d {} + && depmod -b \"$1\" \"$2\"";
    let base = modules(folder);
    let base = base.parent().and_then(Path::parent).context("modules stand in lib/modules")?;
    let done = Command::new("sh").args(["-c", script]).arg(&below).arg(base).arg(release).status();
    ensure!(done.context("run depmod")?.success(), "depmod of {release} failed");
    Ok(())
}

/// The first root: busybox, which loads what the disk needs and goes there.
fn make_initramfs(folder: &Path, release: &str) -> Result<()> {
    let (from, to) = (modules(folder).join(release), folder.join("first"));
    for dir in ["bin", "dev", "new", "modules"] {
        fs::create_dir_all(to.join(dir)).context("make the first root")?;
    }
    fs::copy(busybox()?, to.join("bin/busybox")).context("copy busybox")?;
    let mut load = String::new();
    for (i, module) in with_dependencies(&from, FOR_THE_DISK)?.iter().enumerate() {
        let name = format!("modules/{i}.ko");
        fs::copy(from.join(module), to.join(&name)).with_context(|| format!("copy {module}"))?;
        load += &format!("/bin/busybox insmod /{name}\n");
    }
    let script = format!(
        "#!/bin/busybox sh\n/bin/busybox mount -t devtmpfs dev /dev\n{load}\
         while [ ! -b /dev/vda ]; do /bin/busybox sleep 0.1; done\n\
         /bin/busybox mount -t ext4 /dev/vda /new\n/bin/busybox mount --move /dev /new/dev\n\
         exec /bin/busybox switch_root /new /matrix/init\n"
    );
    fs::write(to.join("init"), script).context("write the first init")?;
    let pack = "chmod 755 init && find . | cpio --quiet -o -H newc | gzip -1 > ../initramfs";
    let done = Command::new("sh").args(["-c", pack]).current_dir(&to).status().context("run cpio")?;
    ensure!(done.success(), "cpio failed");
    fs::remove_dir_all(&to).context("remove the first root")
}

/// The host's busybox, which is static.
pub(super) fn busybox() -> Result<&'static Path> {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    places.into_iter().find(|p| p.is_file()).context("busybox-static is not installed")
}

/// Paths of modules, each after those that it needs: lines of modules.dep(5) are `MODULE: NEEDS…`, nearest need first.
/// One that is built in has no line.
fn with_dependencies(folder: &Path, wanted: &[&str]) -> Result<Vec<String>> {
    let text = fs::read_to_string(folder.join("modules.dep")).context("read modules.dep")?;
    let mut found: Vec<String> = Vec::new();
    for name in wanted {
        let is = |path: &str| path.rsplit('/').next() == Some(&format!("{name}.ko"));
        let Some((module, needs)) = text.lines().filter_map(|l| l.split_once(':')).find(|(m, _)| is(m))
        else {
            continue;
        };
        for path in needs.split_whitespace().rev().chain([module]) {
            if !found.iter().any(|p| p == path) {
                found.push(path.to_owned());
            }
        }
    }
    Ok(found)
}
