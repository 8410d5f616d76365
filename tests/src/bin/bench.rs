//! Prints what a zone costs beside crun and bwrap: medians of interleaved runs over the same busybox root.
//!
//! `cargo run --release -p zones-tests --bin bench [RUNS]`

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use zones_tests::{Zoned, busybox_root};

struct Contender {
    name: &'static str,
    /// Which measurement it is set against.
    beside: &'static str,
    run: Box<dyn Fn() -> Result<()>>,
    times: Vec<Duration>,
}

/// Runs to success. On pipes: crun gives its standard descriptors to the root of its user namespace by
/// fchown(2), which must not be the host's /dev/null.
fn quiet(mut command: Command) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("run {command:?}"))?;
    let output = child.wait_with_output().with_context(|| format!("wait for {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {complaint}", output.status);
    Ok(())
}

/// crun 1.8 refuses a hybrid layout whose v2 hierarchy has controllers. It is to see v1 alone; zoned, which
/// runs already, keeps its own view.
fn hide_hybrid_cgroups() -> Result<()> {
    const V2: &str = "/sys/fs/cgroup/unified";
    if Path::new(V2).join("cgroup.controllers").exists() {
        unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
        let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, all, None::<&str>).context("make mounts private")?;
        umount2(V2, MntFlags::MNT_DETACH).with_context(|| format!("umount {V2}"))?;
    }
    Ok(())
}

/// The least that `crun run` needs for a program in a user namespace of its own.
fn bundle(dir: &Path, root: &Path) -> Result<()> {
    let namespaces =
        ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"].map(|n| json!({ "type": n }));
    let ids = json!([{ "containerID": 0, "hostID": 1_000_000, "size": 65536 }]);
    let config = json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": ["/bin/true"],
                     "env": ["PATH=/bin:/sbin"], "cwd": "/" },
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid", "noexec"] },
        ],
        "linux": { "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids },
    });
    fs::write(dir.join("config.json"), serde_json::to_vec_pretty(&config)?).context("write config.json")
}

fn main() -> Result<()> {
    let runs = std::env::args().nth(1).map_or(Ok(30), |n| n.parse()).context("RUNS is a number")?;
    let root = busybox_root();
    let zoned = Rc::new(Zoned::try_start(Default::default())?);
    let source = format!("dir:{}", root.display());
    zoned.install("bench", &source, &["kernel=2.6.18"]);

    hide_hybrid_cgroups()?;
    let text = root.to_string_lossy().into_owned();
    let folder = tempfile::tempdir().context("create a folder")?;
    bundle(folder.path(), &root)?;
    let bundle = folder.path().to_path_buf();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let zonectl = |words: Vec<String>| {
        let zoned = Rc::clone(&zoned);
        move || quiet(zoned.command(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let (boot, halt) = (zonectl(words("boot bench -i none")), zonectl(words("halt bench")));
    let state = folder.path().join("state");
    let contender = |name, beside, run| Contender { name, beside, run, times: Vec::new() };
    let mut all = vec![
        contender("zonectl run -- true", "", Box::new(zonectl(words(&format!("run --root {text} -- true"))))),
        contender(
            "crun run",
            "zonectl run -- true",
            Box::new(move || {
                let mut crun = Command::new("crun");
                crun.arg("--root").arg(&state).args(["run", "--bundle"]).arg(&bundle).arg("bench");
                quiet(crun)
            }),
        ),
        contender(
            "bwrap --unshare-all",
            "zonectl run -- true",
            Box::new(move || {
                let mut bwrap = Command::new("bwrap");
                bwrap.args([
                    "--unshare-all",
                    "--unshare-user",
                    "--ro-bind",
                    &text,
                    "/",
                    "--proc",
                    "/proc",
                    "--dev",
                    "/dev",
                ]);
                bwrap.arg("/bin/true");
                quiet(bwrap)
            }),
        ),
        contender(
            "boot and halt",
            "",
            Box::new(move || {
                boot()?;
                halt()
            }),
        ),
        contender("zonectl list", "", Box::new(zonectl(words("list")))),
    ];
    // Interleaved: what else the machine does falls on all alike. The first round only warms.
    for round in 0..=runs {
        for c in &mut all {
            let start = Instant::now();
            if let Err(e) = (c.run)() {
                if round == 0 {
                    eprintln!("{} does not run here: {e:#}", c.name);
                }
                continue;
            }
            if round > 0 {
                c.times.push(start.elapsed());
            }
        }
    }
    let median = |c: &mut Contender| {
        c.times.sort();
        c.times.get(c.times.len() / 2).map(Duration::as_secs_f64)
    };
    let medians: Vec<_> = all.iter_mut().map(|c| (c.name, c.beside, median(c))).collect();
    for (name, beside, time) in &medians {
        let Some(time) = time else { continue };
        let base = medians.iter().find(|(n, ..)| n == beside).and_then(|m| m.2);
        let ratio = base.map_or(String::new(), |b| format!("{beside} takes {:.2} × this", b / time));
        println!("{name:24} {:9.2} ms  {ratio}", time * 1e3);
    }
    zoned.forget("bench");
    Ok(())
}
