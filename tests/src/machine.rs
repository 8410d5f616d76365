//! A machine of its own: Debian 12 with its kernel and its systemd in qemu, for what must not be tried on the host.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::fcntl::FlockArg;
use tempfile::TempDir;

use crate::fixtures::fnv1a;
use crate::host::{lock, target};

/// What is on its disk beside what is essential: what every server of Debian has, and what zones want.
const PACKAGES: &str = "systemd-sysv,udev,dbus,kmod,iproute2,procps,adduser,man-db,bash-completion,nftables,xz-utils,\
                        linux-image-cloud-amd64,initramfs-tools,zstd";

/// A shell that reads commands from the second serial line. It goes on until the machine ends, so that a test sees that too.
const JOB: &str = "[Unit]\nDescription=Commands of a test\nDefaultDependencies=no\nAfter=sysinit.target\n\
                   [Service]\nExecStart=/bin/sh -c 'stty raw -echo; echo; echo the job waits; exec /bin/sh'\n\
                   StandardInput=tty-force\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS1\n\
                   Environment=HOME=/root LC_ALL=C.UTF-8 PS1= PS2= TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat\n\
                   Environment=DEBIAN_FRONTEND=noninteractive MANPAGER=cat\n\
                   [Install]\nWantedBy=multi-user.target\n";

/// What the job says when it is there.
const GREETING: &str = "\nthe job waits\n";

/// No command and no boot takes longer, where the processor is emulated.
const PATIENCE: Duration = Duration::from_secs(400);

/// A machine that runs. Its disk is as new for each, and gone with it.
#[derive(Debug)]
pub struct Machine {
    qemu: Child,
    line: UnixStream,
    folder: TempDir,
    /// How many commands it was given.
    asked: u32,
    /// Whether one of them had no end.
    is_stuck: bool,
}

/// What a command in a machine came to.
#[derive(Debug, Clone)]
pub struct Said {
    command: String,
    /// Exit status.
    pub status: i32,
    /// Both of its outputs.
    pub text: String,
}

impl Said {
    /// Asserts exit status 0 and gives what it printed, without white space around it.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.status == 0,
            "in the machine: {}\nended with {}\n{}",
            self.command,
            self.status,
            self.text
        );
        self.text.trim().to_owned()
    }
}

impl Machine {
    /// What is missing on this host to have one; `None` where nothing is.
    pub fn missing() -> Option<String> {
        let absent = |program: &&str| Command::new(program).arg("--version").output().is_err();
        let missing: Vec<_> =
            ["qemu-system-x86_64", "mmdebstrap", "mke2fs"].into_iter().filter(absent).collect();
        if missing.is_empty() { None } else { Some(format!("not installed here: {}", missing.join(", "))) }
    }

    /// Boots one and waits for its systemd. `files`, each with its name, are in `/job`, which is also where commands start.
    ///
    /// # Errors
    /// A disk cannot be made, mostly for want of the mirror, or the machine does not come up.
    pub fn boot(files: &[(&str, &Path)]) -> Result<Self> {
        let base = base()?;
        let folder = tempfile::Builder::new().prefix("zones-machine-").tempdir().context("make a folder")?;
        let tar = folder.path().join("job.tar");
        let mut builder = tar::Builder::new(fs::File::create(&tar).context("create a tar")?);
        for (name, path) in files {
            builder.append_path_with_name(path, name).with_context(|| format!("pack {}", path.display()))?;
        }
        builder.finish().context("finish a tar")?;
        let socket = folder.path().join("job");
        // It dies with the thread that starts it: no test leaves a machine behind (PR_SET_PDEATHSIG in prctl(2)).
        let mut qemu = Command::new("setpriv");
        qemu.args([
            "--pdeathsig",
            "KILL",
            "--",
            "qemu-system-x86_64",
            "-accel",
            accelerator(),
            "-cpu",
            "max",
        ]);
        qemu.args(["-smp", "2", "-m", "2G", "-display", "none", "-nodefaults"]);
        let (console, orders) = (folder.path().join("console"), folder.path().join("orders"));
        let console = format!("path={0}.socket,logfile={0}", console.display());
        qemu.args(["-chardev", &format!("socket,id=console,server=on,wait=off,{console}")]);
        qemu.args(["-serial", "chardev:console"]);
        qemu.args(["-monitor", &format!("unix:{},server=on,wait=off", orders.display())]);
        qemu.args(["-chardev", &format!("socket,id=job,server=on,wait=off,path={}", socket.display())]);
        qemu.args(["-serial", "chardev:job"]);
        qemu.arg("-kernel").arg(base.join("vmlinuz")).arg("-initrd").arg(base.join("initrd"));
        // What is written goes to a file that qemu removes; a boot of the machine keeps it.
        let disk = base.join("disk");
        qemu.args(["-drive", &format!("file={},format=raw,if=virtio,snapshot=on", disk.display())]);
        qemu.args(["-drive", &format!("file={},format=raw,if=virtio,readonly=on", tar.display())]);
        qemu.args(["-append", "root=/dev/vda rw console=ttyS0 quiet sysrq_always_enabled"]);
        let mut qemu = qemu.stdin(Stdio::null()).spawn().context("run qemu-system-x86_64")?;
        let end = Instant::now() + Duration::from_secs(30);
        let line = loop {
            match UnixStream::connect(&socket) {
                Ok(line) => break line,
                Err(error) if Instant::now() > end || qemu.try_wait().is_ok_and(|ended| ended.is_some()) => {
                    let _ = qemu.kill();
                    let _ = qemu.wait();
                    return Err(error).context("qemu does not come up");
                }
                Err(_) => sleep(Duration::from_millis(20)),
            }
        };
        line.set_read_timeout(Some(Duration::from_secs(1))).context("set a time")?;
        let mut machine = Self { qemu, line, folder, asked: 0, is_stuck: false };
        machine.come_up()?;
        machine.run("mkdir /job && tar -xf /dev/vdb -C /job && cd /job").ok();
        Ok(machine)
    }

    /// Runs a line or more of shell to its end, in the shell that ran those before.
    ///
    /// # Panics
    /// The machine is gone, or there is no end within minutes.
    pub fn run(&mut self, command: &str) -> Said {
        assert!(!self.is_stuck, "{command}: a command before it had no end, and the machine has one shell");
        self.asked += 1;
        let mark = format!("the job did {}: ", self.asked);
        let text = format!("{{ {command}\n}} </dev/null; r=$?; echo; echo \"{mark}$r\"\n");
        self.line.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{command}: {e}\n{}", self.console()));
        let text = self.read_to(&format!("\n{mark}")).and_then(|text| Ok((text, self.read_to("\n")?)));
        let (text, status) = text.unwrap_or_else(|e| {
            self.is_stuck = true;
            let console = self.console();
            let tasks = self.tasks().unwrap_or_else(|e| format!("{e:#}"));
            panic!("in the machine: {command}\n{e:#}\n{console}\n{tasks}")
        });
        let status = status.trim().parse().unwrap_or_else(|e| panic!("{command}: {status}: {e}"));
        Said { command: command.to_owned(), status, text }
    }

    /// Shuts it down and boots it again, as `reboot` of an administrator does.
    ///
    /// # Panics
    /// It does not come up again.
    pub fn reboot(&mut self) {
        self.line.write_all(b"systemctl reboot\n").unwrap_or_else(|e| panic!("reboot: {e}"));
        self.come_up().unwrap_or_else(|e| panic!("reboot: {e:#}\n{}", self.console()));
        self.run("cd /job").ok();
    }

    /// The end of what its kernel and its systemd said.
    pub fn console(&self) -> String {
        let text = fs::read(self.folder.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let skip = text.lines().count().saturating_sub(40);
        text.lines().skip(skip).fold(String::from("console of the machine:\n"), |all, line| all + line + "\n")
    }

    /// What the kernel says of each task, its stack with it: by SysRq, which a break on the console begins.
    fn tasks(&self) -> Result<String> {
        let at = |name: &str| self.folder.path().join(name);
        let before = fs::metadata(at("console")).context("ask for the console's length")?.len();
        let mut keys = UnixStream::connect(at("console.socket")).context("reach the console")?;
        let mut orders = UnixStream::connect(at("orders")).context("reach qemu")?;
        // All levels are to be printed; then the tasks.
        for key in [b"9", b"t"] {
            orders.write_all(b"chardev-send-break console\n").context("send a break")?;
            sleep(Duration::from_secs(1));
            keys.write_all(key).context("send a key")?;
            sleep(Duration::from_secs(1));
        }
        let (mut text, end) = (Vec::new(), Instant::now() + Duration::from_secs(180));
        loop {
            sleep(Duration::from_secs(10));
            let longer = fs::read(at("console")).context("read the console")?;
            if longer.len() == text.len() || Instant::now() > end {
                break;
            }
            text = longer;
        }
        let said = usize::try_from(before).ok().and_then(|before| text.get(before..)).unwrap_or_default();
        let said = String::from_utf8_lossy(said);
        // Threads of the kernel are children of the second.
        let parts = said
            .split("] task:")
            .filter(|part| !part.lines().next().is_some_and(|line| line.contains(" ppid:2 ")));
        Ok(parts.collect::<Vec<_>>().join("] task:"))
    }

    fn come_up(&mut self) -> Result<()> {
        self.read_to(GREETING).with_context(|| self.console())?;
        // It may be `degraded`, which is not for every test to judge.
        self.run("systemctl is-system-running --wait");
        Ok(())
    }

    /// What comes before the text.
    fn read_to(&mut self, text: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(text.as_bytes()) {
            match self.line.read(&mut byte) {
                Ok(0) => anyhow::bail!("the machine is gone after {:?}", String::from_utf8_lossy(&bytes)),
                Ok(_) => bytes.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::WouldBlock || e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e).context("read from the machine"),
            }
            let so_far = || String::from_utf8_lossy(&bytes).into_owned();
            ensure!(Instant::now() < end, "no end within {} s after {:?}", PATIENCE.as_secs(), so_far());
        }
        bytes.truncate(bytes.len() - text.len());
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Emulation where the processor has no virtualization to give: /dev/kvm may be there all the same.
fn accelerator() -> &'static str {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = processor.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    if can && Path::new("/dev/kvm").exists() { "kvm" } else { "tcg,thread=multi" }
}

/// Folder with a disk, its kernel and its first root, made once.
fn base() -> Result<PathBuf> {
    let _one_at_a_time = lock("zones-machine.lock", FlockArg::LockExclusive)?;
    let recipe = fnv1a(format!("{PACKAGES}{JOB}").as_bytes());
    let cache = target().join("zones-cache");
    let base = cache.join(format!("machine-bookworm-{recipe:08x}"));
    if base.is_dir() {
        return Ok(base);
    }
    fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    let new = tempfile::Builder::new().prefix("machine-").tempdir_in(&cache).context("make a folder")?;
    let root = new.path().join("root");
    // A mirror in the middle of its update gets a second try.
    if let Err(error) = bootstrap(&root) {
        eprintln!("once more: {error:#}");
        let _ = fs::remove_dir_all(&root);
        sleep(Duration::from_secs(20));
        bootstrap(&root)?;
    }
    let made = new.path().join("made");
    fs::create_dir(&made).context("make a folder")?;
    for entry in fs::read_dir(root.join("boot")).context("list /boot")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        for (prefix, to) in [("vmlinuz-", "vmlinuz"), ("initrd.img-", "initrd")] {
            if name.starts_with(prefix) {
                fs::copy(entry.path(), made.join(to)).with_context(|| format!("copy {name}"))?;
            }
        }
    }
    let units = root.join("etc/systemd/system");
    for (path, text) in [
        (units.join("job.service"), JOB),
        (root.join("etc/fstab"), "/dev/vda / ext4 rw 0 1\n"),
        (root.join("etc/hostname"), "host\n"),
        // Each machine gets an id of its own when it boots.
        (root.join("etc/machine-id"), ""),
    ] {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let wants = units.join("multi-user.target.wants/job.service");
    std::os::unix::fs::symlink("/etc/systemd/system/job.service", &wants).context("enable the job")?;
    // What is said in one boot can be read in the next.
    fs::create_dir_all(root.join("var/log/journal")).context("make the journal's folder")?;
    let disk = made.join("disk");
    let size = 3 << 30;
    fs::File::create(&disk).and_then(|file| file.set_len(size)).context("create a disk")?;
    let mke2fs = Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk).status();
    ensure!(mke2fs.context("run mke2fs")?.success(), "mke2fs failed");
    fs::rename(&made, &base).with_context(|| format!("rename to {}", base.display()))?;
    Ok(base)
}

fn bootstrap(root: &Path) -> Result<()> {
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}"), "bookworm"]).arg(root);
    make.arg(std::env::var_os("DEBIAN_MIRROR").unwrap_or_else(|| "http://deb.debian.org/debian".into()));
    ensure!(make.status().context("run mmdebstrap")?.success(), "mmdebstrap bookworm failed");
    Ok(())
}
