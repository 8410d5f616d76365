//! `cargo xtask deb`: a Debian package of the two programs, the module for names, their units, pages and completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where the package's files are in the working copy.
const PARTS: &str = "packaging/debian";

/// Builds it in `target/debian` and says where it is. `programs` is a folder with built programs; without
/// it they are built for release.
pub(crate) fn run(programs: Option<&str>) -> Result<()> {
    let programs = match programs {
        Some(folder) => PathBuf::from(folder),
        None => release()?,
    };
    // The number behind the dash counts packages of one version.
    let version = concat!(env!("CARGO_PKG_VERSION"), "-1");
    let maintainer = maintainer()?;
    let arch = said(Command::new("dpkg").arg("--print-architecture"))?;
    let place = crate::top().join("target/debian");
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("empty {}", place.display()))?;
    }
    let tree = place.join("zones");
    let parts = crate::top().join(PARTS);

    for (name, at) in [("zoned", "usr/sbin"), ("zonectl", "usr/bin")] {
        let to = tree.join(at).join(name);
        copy(&programs.join(name), &to, 0o755)?;
        done(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&to))?;
    }
    let multiarch = said(Command::new("dpkg-architecture").arg("-qDEB_HOST_MULTIARCH"))?;
    let module = tree.join("usr/lib").join(multiarch).join("libnss_zones.so.2");
    copy(&programs.join("libnss_zones.so"), &module, 0o644)?;
    done(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&module))?;
    let zonectl = tree.join("usr/bin/zonectl");
    units(&tree)?;
    let man = tree.join("usr/share/man/man1");
    done(Command::new(&zonectl).arg("man").arg(&man))?;
    write(&tree.join("usr/share/man/man8/zoned.8"), &fs::read(parts.join("zoned.8"))?)?;
    for (shell, file) in [
        ("bash", "usr/share/bash-completion/completions/zonectl"),
        ("zsh", "usr/share/zsh/vendor-completions/_zonectl"),
        ("fish", "usr/share/fish/vendor_completions.d/zonectl.fish"),
    ] {
        let script = Command::new(&zonectl).args(["completions", shell]).output().context("run zonectl")?;
        ensure!(script.status.success(), "zonectl completions {shell} failed");
        write(&tree.join(file), &script.stdout)?;
    }
    let doc = tree.join("usr/share/doc/zones");
    fs::create_dir_all(&doc).with_context(|| format!("make {}", doc.display()))?;
    done(Command::new("cp").arg("-r").arg(crate::top().join("docs")).arg(doc.join("book")))?;
    // What is there as manual pages.
    fs::remove_dir_all(doc.join("book/reference/man")).ok();
    copy(&parts.join("copyright"), &doc.join("copyright"), 0o644)?;
    copy(&crate::top().join("CHANGELOG.md"), &doc.join("changelog"), 0o644)?;
    copy(&parts.join("zoned.toml"), &tree.join("etc/zoned/zoned.toml"), 0o644)?;
    fs::create_dir_all(tree.join("etc/zones"))?;
    pack(&man)?;
    pack(&tree.join("usr/share/man/man8"))?;
    let date = git("%aD")?;
    let entry = format!(
        "zones ({version}) unstable; urgency=medium\n\n  * Built from the sources; changelog.gz says what changed.\n\n \
         -- {maintainer}  {date}\n"
    );
    write(&doc.join("changelog.Debian"), entry.as_bytes())?;
    let logs = [doc.join("changelog"), doc.join("changelog.Debian")];
    done(Command::new("gzip").args(["-9n"]).args(logs))?;

    let control = tree.join("DEBIAN");
    for script in ["postinst", "prerm", "postrm"] {
        copy(&parts.join(script), &control.join(script), 0o755)?;
    }
    write(&control.join("triggers"), b"activate-noawait ldconfig\n")?;
    write(&control.join("conffiles"), b"/etc/zoned/zoned.toml\n")?;
    let size = said(Command::new("du").args(["-sk", "--apparent-size", "--exclude=DEBIAN"]).arg(&tree))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let libraries = libraries(&place, &tree, &module)?;
    let text = fs::read_to_string(parts.join("control")).context("read control")?;
    let text = text
        .replace("@VERSION@", version)
        .replace("@MAINTAINER@", &maintainer)
        .replace("@ARCH@", &arch)
        .replace("@SIZE@", &size)
        .replace("@LIBRARIES@", &libraries);
    write(&control.join("control"), text.as_bytes())?;
    modes(&tree)?;
    sums(&tree, &control)?;

    let package = place.join(format!("zones_{version}_{arch}.deb"));
    done(Command::new("dpkg-deb").args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&package))?;
    println!("{}", package.display());
    Ok(())
}

/// Who packages: as dpkg's tools are told (dch(1)), else as commits are.
fn maintainer() -> Result<String> {
    if let (Ok(name), Ok(email)) = (std::env::var("DEBFULLNAME"), std::env::var("DEBEMAIL")) {
        return Ok(format!("{name} <{email}>"));
    }
    git("%an <%ae>")
}

/// Of the last commit, in the words of git-log(1); the working copy may be another's than root's.
fn git(format: &str) -> Result<String> {
    let safe = format!("safe.directory={}", crate::top().display());
    let format = format!("--format={format}");
    said(Command::new("git").current_dir(crate::top()).args(["-c", &safe, "log", "-1", &format]))
}

fn release() -> Result<PathBuf> {
    done(crate::cargo().args(["build", "--release", "-p", "zoned", "-p", "zonectl", "-p", "nss-zones"]))?;
    Ok(crate::top().join("target/release"))
}

/// The units as they are for programs under /usr.
fn units(tree: &Path) -> Result<()> {
    for unit in ["zoned.service", "zoned.socket", "zones.service"] {
        let text = fs::read_to_string(crate::top().join("packaging").join(unit))
            .with_context(|| format!("read {unit}"))?;
        let text = text.replace("/usr/local/", "/usr/");
        write(&tree.join("lib/systemd/system").join(unit), text.as_bytes())?;
    }
    Ok(())
}

/// What dpkg-shlibdeps(1) finds that the programs need, with versions; it wants a source package around it.
fn libraries(place: &Path, tree: &Path, module: &Path) -> Result<String> {
    let source = place.join("source");
    write(&source.join("debian/control"), b"Source: zones\n\nPackage: zones\nArchitecture: any\n")?;
    let found = said(
        Command::new("dpkg-shlibdeps")
            .current_dir(&source)
            .arg("-O")
            .arg(tree.join("usr/sbin/zoned"))
            .arg(tree.join("usr/bin/zonectl"))
            .arg(module),
    )?;
    match found.strip_prefix("shlibs:Depends=") {
        Some(libraries) => Ok(libraries.to_owned()),
        None => bail!("dpkg-shlibdeps said {found:?}"),
    }
}

/// Packs the pages in a folder, as Debian has them.
fn pack(folder: &Path) -> Result<()> {
    let pages: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|page| page.map(|page| page.path())).collect::<Result<_, _>>()?;
    done(Command::new("gzip").arg("-9n").args(pages))
}

/// Modes that no umask has touched.
fn modes(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let run = fs::symlink_metadata(&path)?.permissions().mode() & 0o100 != 0;
        fs::set_permissions(&path, fs::Permissions::from_mode(if run { 0o755 } else { 0o644 }))?;
        if path.is_dir() {
            modes(&path)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).context("set modes")
}

fn sums(tree: &Path, control: &Path) -> Result<()> {
    let list = "find . -type f -not -path './DEBIAN/*' -printf '%P\\0' | sort -z | xargs -0 md5sum";
    let sums = said(Command::new("sh").args(["-c", list]).current_dir(tree))?;
    write(&control.join("md5sums"), format!("{sums}\n").as_bytes())?;
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    write(to, &bytes)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).context("set a mode")
}

fn write(to: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed", command.get_program());
    Ok(())
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {:?}", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?} failed: {text}", command.get_program());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
