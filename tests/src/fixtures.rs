//! Roots and programs made at test time, so that the tests always have something to run.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::FlockArg;

use crate::host::{lock, target};

/// What the busybox guest has in /etc. Its root has no password.
const FILES: [(&str, &str); 5] = [
    (
        "etc/inittab",
        "::sysinit:/bin/echo the zone comes up\n\
         ::respawn:/sbin/getty -L 0 console vt100\n\
         ::ctrlaltdel:/sbin/reboot\n\
         ::shutdown:/bin/echo the zone goes down\n",
    ),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/tmp:/bin/sh\n"),
    ("etc/shadow", "root::10000:0:99999:7:::\nguest::10000:0:99999:7:::\n"),
    ("etc/group", "root:x:0:\nguest:x:1000:\n"),
    ("etc/os-release", "NAME=busybox\nID=busybox\n"),
];

/// A folder with the host's static busybox, its own init and a login prompt on the console: a guest of 2 MB
/// that is always there. Made once.
pub fn busybox_root() -> PathBuf {
    let make = || -> Result<PathBuf> {
        let _one_at_a_time = lock("zones-fixtures.lock", FlockArg::LockExclusive)?;
        // A checkout that has other files makes another root.
        let text = FILES.map(|(file, text)| format!("{file}{text}")).concat();
        let root = target().join(format!("zones-cache/busybox-root-{:08x}", fnv1a(text.as_bytes())));
        if !root.exists() {
            let new = root.with_extension("new");
            let _ = fs::remove_dir_all(&new);
            make_busybox_root(&new)?;
            fs::rename(&new, &root).context("rename the busybox root")?;
        }
        Ok(root)
    };
    make().unwrap_or_else(|e| panic!("busybox root: {e:#}"))
}

fn make_busybox_root(root: &Path) -> Result<()> {
    for dir in ["bin", "sbin", "etc", "root", "tmp", "proc", "sys", "dev", "var/log", "mnt"] {
        fs::create_dir_all(root.join(dir)).with_context(|| format!("create {dir}"))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).context("open tmp to all")?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|p| Path::new(p).exists());
    fs::copy(busybox.context("busybox-static is not installed")?, root.join("bin/busybox"))
        .context("copy busybox")?;
    let list = Command::new(root.join("bin/busybox")).arg("--list-full").output().context("run busybox")?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        // One flat place each for programs and for the system's own; init looks in both.
        let dir = if applet.contains("sbin/") { "sbin" } else { "bin" };
        let name = applet.rsplit('/').next().unwrap_or(applet);
        if name != "busybox" && !name.is_empty() {
            symlink("/bin/busybox", root.join(dir).join(name)).with_context(|| format!("link {name}"))?;
        }
    }
    let init = root.join("sbin/init");
    ensure!(init.symlink_metadata().is_ok(), "this busybox has no init");
    for (file, text) in FILES {
        fs::write(root.join(file), text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

/// A tar of a folder, owned by root as an image is.
pub fn pack(folder: &Path, tar: &Path) {
    let mut builder = tar::Builder::new(File::create(tar).unwrap_or_else(|e| panic!("create {tar:?}: {e}")));
    builder.follow_symlinks(false);
    let packed = builder.append_dir_all(".", folder).and_then(|()| builder.finish());
    packed.unwrap_or_else(|e| panic!("pack {folder:?}: {e}"));
}

/// The program of `programs/NAME.c` for an ABI.
pub fn program(name: &str, abi: &str, flags: &[&str]) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
    compile(&source, abi, &flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>())
}

/// Compiles a C program for an ABI (`i386`, `amd64`) unless what is there comes from the same text: the name
/// of the program ends in the text's hash, and it appears whole, so tests may ask for it in parallel.
pub fn compile(source: &Path, abi: &str, flags: &[String]) -> Result<PathBuf> {
    let dir = target().join("conformance");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let folder = source.parent().context("a source stands in a folder")?;
    let mut text = fs::read(source).with_context(|| format!("read {}", source.display()))?;
    let mut headers: Vec<_> =
        fs::read_dir(folder).context("list headers")?.flatten().map(|e| e.path()).collect();
    headers.retain(|p| p.extension().is_some_and(|e| e == "h"));
    headers.sort();
    for header in headers {
        text.extend(fs::read(&header).with_context(|| format!("read {}", header.display()))?);
    }
    text.extend(format!("{abi} {flags:?} 755").bytes());
    let name = source.file_stem().context("a source has a name")?.to_string_lossy();
    let program = dir.join(format!("{name}-{abi}-{:016x}", fnv1a(&text)));
    if program.exists() {
        return Ok(program);
    }
    let new =
        tempfile::Builder::new().prefix("new-").tempfile_in(&dir).context("create a file")?.into_temp_path();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-Wextra", if abi == "i386" { "-m32" } else { "-m64" }]).args(flags);
    // With the libraries of the machine, which its zones see too, only what asks for it.
    if !flags.iter().any(|flag| flag == "-pie" || flag == "-shared") {
        gcc.arg("-static");
    }
    let output = gcc.arg("-o").arg(&new).arg(source).output().context("run gcc")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "gcc {}: {complaint}", source.display());
    // A temporary file is for its owner alone, and where ids are not mapped a zone's root is not that.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).context("open a program to all")?;
    new.persist(&program).with_context(|| format!("rename to {}", program.display()))?;
    Ok(program)
}

/// FNV-1a: names a text, protects nothing.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The first bytes of an aarch64 program, which is all that a kernel or an installer looks at.
pub fn elf_for_another_machine() -> Vec<u8> {
    const EM_AARCH64: u8 = 183;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // e_type ET_EXEC, e_machine, e_version, e_entry, e_phoff 64.
    elf.extend([2, 0, EM_AARCH64, 0, 1, 0, 0, 0]);
    elf.extend(0x40_0078_u64.to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    // e_shoff, e_flags, e_ehsize 64, e_phentsize 56, e_phnum 1, no sections.
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // One PT_LOAD of 120 bytes, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0_u64, 0x40_0000, 0x40_0000, 120, 120, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf
}
