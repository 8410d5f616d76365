//! `cargo xtask demo`: a zone from nothing to gone, with a zoned of its own.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{packages, stop};

const ZONE: &str = "demo";
/// How the zone stands in the list.
const ZONE_KEY: &str = "\"demo\"";
const LEVEL: &str = "2.6.32";

pub(crate) fn run() -> Result<()> {
    crate::be_root()?;
    stop::watch()?;
    packages::for_demo()?;
    let programs = crate::build()?;
    stop::check()?;
    let mut demo = Demo::start(&programs)?;
    let shown = demo.show();
    if shown.is_err() {
        demo.tell_log();
    }
    let cleaned = demo.clean_up();
    // What failed first is what the other failed of, most likely.
    shown.and(cleaned)?;
    println!("\nThat was a zone. Nothing of it is left.");
    Ok(())
}

struct Demo {
    /// Everything that is made lies in here.
    folder: tempfile::TempDir,
    programs: PathBuf,
    zoned: Child,
}

impl Demo {
    /// Starts a zoned with folders of its own.
    fn start(programs: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("zones-demo-").tempdir().context("make a folder")?;
        println!("$ zoned --root … --run … --zones … &");
        let zoned = start_zoned(&programs.join("zoned"), folder.path())?;
        Ok(Self { folder, programs: programs.to_owned(), zoned })
    }

    fn show(&self) -> Result<()> {
        let mirror = std::env::var("DEBIAN_MIRROR").map(|url| format!(",mirror={url}")).unwrap_or_default();
        self.zonectl(&["create", ZONE, "--brand", "linux", &format!("kernel={LEVEL}")])?;
        self.zonectl(&["install", ZONE, &format!("debootstrap:bullseye,arch=i386{mirror}")])?;
        self.zonectl(&["boot", ZONE])?;
        self.zonectl(&["list"])?;
        let uname = self.inside(&["uname", "-a"])?;
        ensure!(
            uname.contains(LEVEL) && uname.contains("i686"),
            "uname -a does not tell of {LEVEL} and i686"
        );
        let version = self.inside(&["cat", "/proc/version"])?;
        ensure!(version.contains(LEVEL), "/proc/version does not tell of {LEVEL}");
        let ps = self.inside(&["ps", "-ef"])?;
        ensure!(ps.lines().count() < 12, "ps sees more than the zone");
        self.clock_stays()
    }

    /// The guest may set the clock as often as it likes.
    fn clock_stays(&self) -> Result<()> {
        let (wall, steady) = (SystemTime::now(), Instant::now());
        self.inside(&["date", "-s", "2001-01-01 00:00:00"])?;
        let passed = wall.elapsed().context("the host's clock went back")?;
        let off = passed.abs_diff(steady.elapsed());
        ensure!(off < Duration::from_secs(5), "the host's clock moved by {off:?}");
        println!("$ date    # on the host");
        stop::step(&mut Command::new("date"))?;
        println!("The host's clock went on: {} ms passed meanwhile.", passed.as_millis());
        Ok(())
    }

    fn clean_up(&mut self) -> Result<()> {
        println!("\nCleaning up");
        let mut gone = self.remove_zone()?;
        stop_zoned(&mut self.zoned)?;
        if !gone {
            // An install may have been under way: it ended with zoned, and a new one knows what is left of it.
            self.zoned = start_zoned(&self.programs.join("zoned"), self.folder.path())?;
            gone = self.remove_zone()?;
            stop_zoned(&mut self.zoned)?;
        }
        if !gone {
            self.folder.disable_cleanup(true);
            bail!("the zone could not be removed; it is in {}", self.folder.path().display());
        }
        fs::remove_dir_all(self.folder.path()).context("remove the demo's folder")
    }

    /// Takes the zone back as far as it came; whether none is left.
    fn remove_zone(&self) -> Result<bool> {
        for words in [&["halt", ZONE][..], &["uninstall", ZONE, "-F"], &["delete", ZONE, "-F"]] {
            let mut command = self.command(words);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            // ^C at the terminal is for what is being shown and not for this.
            stop::run(command.process_group(0))?;
        }
        let mut list = self.command(&["--json", "list", "-c"]);
        let left = list.stderr(Stdio::null()).process_group(0).output().context("run zonectl")?;
        Ok(left.status.success() && !String::from_utf8_lossy(&left.stdout).contains(ZONE_KEY))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.programs.join("zonectl"));
        command
            .arg("--socket")
            .arg(self.folder.path().join("run/zoned.sock"))
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn zonectl(&self, words: &[&str]) -> Result<()> {
        println!("\n$ zonectl {}", words.join(" "));
        let status = stop::step(&mut self.command(words))?;
        ensure!(status.success(), "zonectl {} failed", words.join(" "));
        Ok(())
    }

    /// Runs a program in the zone and shows what it says.
    fn inside(&self, program: &[&str]) -> Result<String> {
        let quoted: Vec<String> = program
            .iter()
            .map(|w| if w.contains(' ') { format!("'{w}'") } else { (*w).to_owned() })
            .collect();
        println!("\n$ zonectl login {ZONE} -- {}", quoted.join(" "));
        let path = self.folder.path().join("said");
        let mut command = self.command(&[&["login", ZONE, "--"], program].concat());
        command.stdout(File::create(&path).context("make a file")?);
        let status = stop::step(&mut command)?;
        let said = fs::read_to_string(&path).context("read what it said")?;
        print!("{said}");
        ensure!(status.success(), "{} failed in the zone", quoted.join(" "));
        Ok(said)
    }

    fn tell_log(&self) {
        let log = fs::read_to_string(self.folder.path().join("zoned.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("\nzoned's log:");
        for line in &lines[lines.len().saturating_sub(30)..] {
            eprintln!("  {line}");
        }
    }
}

/// Starts it with its folders in `folder`, and waits until it says that it is ready.
fn start_zoned(program: &Path, folder: &Path) -> Result<Child> {
    let path = |name: &str| folder.join(name);
    let _ = fs::remove_file(path("notify"));
    let notify = UnixDatagram::bind(path("notify")).context("make a socket")?;
    notify.set_read_timeout(Some(Duration::from_millis(100))).context("set a timeout")?;
    let log = File::options().create(true).append(true).open(path("zoned.log")).context("make a log")?;
    let mut command = Command::new(program);
    command.arg("--root").arg(path("root")).arg("--run").arg(path("run")).arg("--zones").arg(path("zones"));
    // A group of its own: ^C at the terminal is not for it, since it is needed to clean up.
    command.env("NOTIFY_SOCKET", path("notify")).process_group(0).stdin(Stdio::null()).stderr(log);
    let mut zoned = command.spawn().context("run zoned")?;
    match wait_ready(&mut zoned, &notify) {
        Ok(()) => Ok(zoned),
        Err(error) => {
            stop_zoned(&mut zoned)?;
            Err(error.context(fs::read_to_string(path("zoned.log")).unwrap_or_default()))
        }
    }
}

fn wait_ready(zoned: &mut Child, notify: &UnixDatagram) -> Result<()> {
    let patience = Instant::now() + Duration::from_secs(20);
    let mut message = [0; 1024];
    while Instant::now() < patience {
        match notify.recv(&mut message) {
            Ok(n) if message[..n].split(|b| *b == b'\n').any(|line| line == b"READY=1") => return Ok(()),
            Err(e)
                if !matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                return Err(e).context("wait for zoned");
            }
            _ => {}
        }
        if let Some(status) = zoned.try_wait().context("wait for zoned")? {
            bail!("zoned ended: {status}");
        }
    }
    bail!("zoned was not ready within 20 seconds")
}

fn stop_zoned(zoned: &mut Child) -> Result<()> {
    if zoned.try_wait().context("wait for zoned")?.is_none() {
        let pid = Pid::from_raw(zoned.id().try_into().context("a process id")?);
        kill(pid, Signal::SIGTERM).context("stop zoned")?;
        zoned.wait().context("wait for zoned")?;
    }
    Ok(())
}
