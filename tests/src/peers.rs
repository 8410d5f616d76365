//! What others need for the same that zones do, in benchmarks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::text;

/// The host as the others want it, for this process and its children: zoned, which runs already, keeps its own view. crun 1.8
/// refuses a hybrid layout whose v2 hierarchy has controllers, and LXC has newuidmap(1) map ids, which wants them granted.
pub fn suit(dir: &Path) -> Result<()> {
    const V2: &str = "/sys/fs/cgroup/unified";
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).context("make a mount namespace")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")?;
    if Path::new(V2).join("cgroup.controllers").exists() {
        umount2(V2, MntFlags::MNT_DETACH).with_context(|| format!("umount {V2}"))?;
    }
    let granted = subids(dir)?;
    for file in ["/etc/subuid", "/etc/subgid"].into_iter().filter(|file| Path::new(file).exists()) {
        mount(Some(&granted), file, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("mount on {file}"))?;
    }
    Ok(())
}

/// Which ids root may map, for who asks for that.
fn subids(dir: &Path) -> Result<PathBuf> {
    let file = dir.join("subids");
    fs::write(&file, "root:1000000:65536\n").context("write subids")?;
    Ok(file)
}

/// A program for which alone the host is as [`suit`] has it.
pub fn suited(dir: &Path, words: &[&str]) -> Command {
    let granted = subids(dir).unwrap_or_else(|e| panic!("{e:#}"));
    let script = format!(
        "umount -l /sys/fs/cgroup/unified 2> /dev/null; for f in /etc/subuid /etc/subgid; do [ -e $f ] && mount --bind {} $f; done; exec \"$@\"",
        text(&granted)
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).args(words);
    command
}

/// The least that `crun run` and `runc run` need for a program in a user namespace of its own.
pub fn bundle(dir: &Path, root: &Path, words: &[&str]) -> Result<()> {
    write(dir, &configuration(root, words))
}

/// Puts a configuration where `crun run` looks for it.
pub fn write(bundle: &Path, configuration: &Value) -> Result<()> {
    fs::create_dir_all(bundle).context("make the bundle")?;
    fs::write(bundle.join("config.json"), serde_json::to_vec_pretty(configuration)?)
        .context("write config.json")
}

/// That of [`bundle`].
pub fn configuration(root: &Path, words: &[&str]) -> Value {
    let namespaces =
        ["user", "pid", "mount", "network", "uts", "ipc", "cgroup"].map(|n| json!({ "type": n }));
    let ids = json!([{ "containerID": 0, "hostID": 1_000_000, "size": 65536 }]);
    json!({
        "ociVersion": "1.0.2",
        "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": words,
                     "env": ["PATH=/bin:/sbin"], "cwd": "/" },
        "root": { "path": root, "readonly": true },
        "hostname": "bench",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid", "noexec"] },
        ],
        "linux": { "namespaces": namespaces, "uidMappings": ids, "gidMappings": ids },
    })
}

/// The configuration of a container of lxc over the same root, with ids mapped.
pub fn lxc(dir: &Path, root: &Path) -> Result<PathBuf> {
    let file = dir.join("lxc.conf");
    let lines = format!(
        "lxc.rootfs.path = dir:{}\nlxc.rootfs.options = idmap=container\nlxc.uts.name = bench\n\
         lxc.idmap = u 0 1000000 65536\nlxc.idmap = g 0 1000000 65536\nlxc.net.0.type = empty\n\
         lxc.mount.auto = proc:mixed sys:ro\nlxc.apparmor.profile = unconfined\n",
        root.display()
    );
    fs::write(&file, lines).context("write lxc.conf")?;
    Ok(file)
}

/// What podman's `run` and `create` take here: without a network, in groups that are there, and with limits that, unlike
/// those that it raises by itself, do not take CAP_SYS_RESOURCE.
pub const PODMAN: [&str; 4] =
    ["--network=none", "--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"];

/// A copy of a root, for peers that write to it.
pub fn copy_root(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    ensure!(copied.context("run cp")?.success(), "cp of {} failed", from.display());
    // nspawn takes a root without it for none.
    fs::create_dir_all(to.join("usr")).context("make usr")
}

/// Runs podman to success, with a store of its own below `dir`; what it says.
pub fn podman(dir: &Path, words: &[&str]) -> Result<String> {
    let store = dir.join("podman");
    let (root, run) = (store.join("root"), store.join("run"));
    // It mounts its store on itself, also when it cleans up behind us: in the mount namespace of the program.
    let front = ["podman", "--root", text(&root), "--runroot", text(&run)];
    let output = suited(dir, &[&front[..], words].concat()).output().context("run podman")?;
    ensure!(output.status.success(), "podman {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The seccomp filter that podman gives to crun, as it stands in a configuration of OCI. Below the root podman makes files.
pub fn default_filter(dir: &Path, root: &Path) -> Result<Value> {
    let podman = |words: &[&str]| podman(dir, words);
    let id = podman(&[&["create"], &PODMAN[..], &["--rootfs", text(root), "/bin/true"]].concat())?;
    podman(&["init", &id])?;
    let path = dir.join("podman/root/overlay-containers").join(&id).join("userdata/config.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()));
    podman(&["rm", "-f", &id])?;
    let mut configuration: Value = serde_json::from_slice(&text?).context("read podman's configuration")?;
    Ok(configuration["linux"]["seccomp"].take())
}
