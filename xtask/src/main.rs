#![forbid(unsafe_code)]
//! The project's chores: `cargo xtask demo`, `test`, `docs`, `deb`, `outside`, `fuzz`, `hold` and `matrix`.

mod bench;
mod counts;
mod deb;
mod demo;
mod docs;
mod fuzz;
mod hold;
mod matrix;
mod outside;
mod packages;
mod stop;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask CHORE

demo   make a Debian 11 of i386 a zone at level 2.6.32, show it from inside, and clean up
test   install what is missing, then check the form, build and run every test
docs   write the reference pages anew from the programs
bench [PROGRAM…]
       measure what zones cost beside their peers, all of it or parts, for docs/benchmarks.md
deb [FOLDER]
       build the Debian package, of the programs in FOLDER where it is named
outside
       build the kernel's own selftests and compare what they say in a zone with what they say outside
fuzz [TARGET…] [--seconds N] [--keep]
       feed parsers with what nobody made, each for a minute or N seconds; --keep puts what reaches more into the corpora
fuzz TARGET FILE…
       feed one these files
hold [machine]
       try the known ways out of a zone, in zones and, in qemu where they harm, without the guards; a table of them; or only
       what is tried in qemu
matrix [KERNEL[/VSYSCALL]…]
       boot kernels of Debian in qemu and run the tests on them; all where none is named: 5.10 6.1 6.12 newest; what follows --
       is run there in place of them, as \"inits\", with roots from tars in the folder $ZONES_ROOTS";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["docs"] => docs::run(),
        ["deb"] => deb::run(None),
        ["deb", folder] => deb::run(Some(folder)),
        ["outside"] => outside::run(),
        ["bench", ref programs @ ..] => bench::run(programs),
        ["fuzz", ref words @ ..] => fuzz::run(words),
        ["hold"] => hold::run(false),
        ["hold", "machine"] => hold::run(true),
        ["matrix", ref kernels @ ..] => matrix::run(kernels),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the working copy.
fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo, as it called us.
fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(top());
    cargo
}

/// Builds the two programs; the folder that they are in. The whole workspace is named here and wherever tests are built: with
/// less of it cargo picks other features, and builds all anew.
fn build() -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--workspace", "--lib", "--bin", "zoned", "--bin", "zonectl"])
        .status()
        .context("run cargo build")?;
    if !status.success() {
        bail!("cargo build of zoned and zonectl failed");
    }
    // We stand beside them: TARGET/debug/xtask.
    let here = std::env::current_exe().context("find this program")?;
    Ok(here.parent().context("find this program's folder")?.to_owned())
}

fn be_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("zones are made by root: run it as root");
    }
    Ok(())
}
