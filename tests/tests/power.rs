//! The host dies in the middle: of an image that comes in, a zone that is installed, a snapshot, a clone, a rollback, a
//! stream that is received, a move. By the power, with what was not flushed lost in part or all, and by kill -9 of zoned.
//!
//! ZONES_POWER_ROUNDS and ZONES_KILL_ROUNDS set how often, ZONES_POWER_DISK the file system (ext4, xfs, btrfs),
//! ZONES_POWER_ONLY which operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use zones_tests::{Dice, Disk, How, Zoned, busybox_root, eventually, run, target, text};

fn rounds(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What a zone writes that is to be at this version.
fn writing(version: u32) -> String {
    format!(
        "set -e; rm -rf /data/old; mkdir -p /data/deep; echo {version} > /version; rm -f /only-*; \
         echo > /only-{version}; i=0; while [ $i -lt 12 ]; do i=$((i+1)); \
         {{ echo {version} $i; head -c 20000 /bin/busybox; }} > /data/deep/$i; done; \
         rm -rf /data/dir-*; mkdir /data/dir-{version}; ln /version /data/dir-{version}/link; chown 33:44 /data/deep"
    )
}

/// What tells versions apart, and a whole one from a broken one.
const LOOK: &str = "cat version && ls -d only-* && ls data && stat -c '%u:%g' data/deep && stat -c %h version && \
                    for i in data/deep/*; do head -n 1 $i; done | sort && \
                    for i in data/deep/*; do tail -c 20000 $i | md5sum; done | uniq && md5sum < bin/busybox";

/// The same of layers, the topmost first, mounted on the test's own.
fn look_at(layers: &[PathBuf], at: &Path) -> Result<String, String> {
    if let Some(missing) = layers.iter().find(|layer| !layer.is_dir()) {
        return Err(format!("{} is not there", missing.display()));
    }
    let mut lower: Vec<&str> = layers.iter().map(|layer| text(layer)).collect();
    let empty = at.with_extension("empty");
    fs::create_dir_all(&empty).expect("make a folder");
    lower.push(text(&empty));
    fs::create_dir_all(at).expect("make a folder");
    let script =
        "mount -t overlay overlay -o ro,userxattr,lowerdir=\"$0\" \"$1\" && cd \"$1\" && eval \"$2\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, &lower.join(":"), text(at), LOOK])
        .output()
        .expect("run unshare");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What is made before anything breaks: images, streams, and what each version looks like.
struct Stock {
    layouts: Vec<PathBuf>,
    /// docker-registry(1) with them, and its port; none: it is not installed.
    registry: Option<(Child, u16)>,
    archive: PathBuf,
    /// All of z@a.
    whole: PathBuf,
    /// What z@b has over it.
    change: PathBuf,
}

fn stock(dir: &Path) -> Stock {
    let mut layouts = Vec::new();
    for i in 0..3 {
        let (root, layout) = (dir.join(format!("files{i}")), dir.join(format!("layout{i}")));
        run(&["cp", "-a", text(&busybox_root()), text(&root)]);
        fs::create_dir_all(root.join("opt/deep")).expect("make a folder");
        for j in 0..40 {
            fs::write(root.join(format!("opt/deep/file{j}")), format!("{i} {j}").repeat(4000))
                .expect("write");
        }
        fs::write(root.join("opt/set"), "s").expect("write");
        fs::set_permissions(root.join("opt/set"), fs::Permissions::from_mode(0o4755)).expect("set its mode");
        let image = format!("{}:1", layout.display());
        run(&["umoci", "init", "--layout", text(&layout)]);
        run(&["umoci", "new", "--image", &image]);
        run(&["umoci", "insert", "--image", &image, text(&root), "/"]);
        run(&["umoci", "insert", "--image", &image, text(&root.join("opt/set")), "/etc/new"]);
        run(&["umoci", "insert", "--opaque", "--image", &image, text(&root.join("etc")), "/opt/deep"]);
        let config =
            ["env=PATH=/bin:/sbin", "env=OF=image", "entrypoint=/bin/busybox", "cmd=sleep", "cmd=1000"];
        let config: Vec<String> = config.iter().map(|word| format!("--config.{word}")).collect();
        let config: Vec<&str> = config.iter().map(String::as_str).collect();
        run(&[&["umoci", "config", "--image", &image][..], &config].concat());
        layouts.push(layout);
    }
    let archive = dir.join("archive.tar");
    let from = format!("oci:{}:1", layouts[0].display());
    run(&["skopeo", "copy", "-q", &from, &format!("docker-archive:{}:app:1", archive.display())]);

    let zoned = Zoned::start();
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["install", "z", &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    for (snap, version) in [("a", 1001), ("b", 1002)] {
        zoned.sh("z", &writing(version));
        zoned.zonectl(&["snapshot", &format!("z@{snap}")]).ok();
    }
    let sent = |name: &str, words: &[&str]| {
        let path = dir.join(name);
        let out = File::create(&path).expect("make a file");
        let status = zoned.command(&[&["send"], words].concat()).stdout(out).status().expect("run zonectl");
        assert!(status.success(), "send {words:?}");
        path
    };
    let (whole, change) = (sent("whole", &["z@a"]), sent("change", &["z@b", "--base", "a"]));
    Stock { registry: registry(dir, &layouts), layouts, archive, whole, change }
}

impl Drop for Stock {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.registry {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn registry(dir: &Path, layouts: &[PathBuf]) -> Option<(Child, u16)> {
    if Command::new("docker-registry").arg("--version").output().is_err() {
        eprintln!("SKIPPED pulls: no docker-registry");
        return None;
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let config = serde_json::json!({
        "version": 0.1, "log": {"level": "error"}, "http": {"addr": format!("127.0.0.1:{port}"), "secret": "x"},
        "storage": {"filesystem": {"rootdirectory": dir.join("registry")}},
    });
    // JSON is YAML.
    let path = dir.join("registry.yml");
    fs::write(&path, config.to_string()).expect("write");
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("run docker-registry");
    eventually("the registry listens", 20, || TcpStream::connect(("127.0.0.1", port)).is_ok());
    for (i, layout) in layouts.iter().enumerate() {
        let (from, to) = (format!("oci:{}:1", layout.display()), format!("docker://127.0.0.1:{port}/i{i}:1"));
        run(&["skopeo", "copy", "-q", "--dest-tls-verify=false", &from, &to]);
    }
    Some((child, port))
}

/// Processes of zoned that pull.
fn pullers(zoned: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{zoned}/task")).into_iter().flatten().flatten();
    let children = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let all: Vec<i32> = children
        .flat_map(|text| text.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    let pulls = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"pull")
    };
    all.into_iter().filter(pulls).collect()
}

/// One call of zonectl after the other, until one fails.
struct Doing {
    steps: Vec<(Vec<String>, Option<PathBuf>)>,
    child: Option<Child>,
    done: usize,
}

impl Doing {
    fn step(words: &[&str], stdin: Option<&Path>) -> (Vec<String>, Option<PathBuf>) {
        (words.iter().map(|word| (*word).to_owned()).collect(), stdin.map(Path::to_owned))
    }

    fn start(zoned: &Zoned, steps: Vec<(Vec<String>, Option<PathBuf>)>) -> Self {
        let mut doing = Self { steps, child: None, done: 0 };
        doing.next(zoned);
        doing
    }

    fn next(&mut self, zoned: &Zoned) {
        let Some((words, stdin)) = self.steps.get(self.done) else { return };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = zoned.command(&words);
        match stdin {
            Some(path) => command.stdin(File::open(path).expect("open the stream")),
            None => command.stdin(Stdio::null()),
        };
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("run zonectl"));
    }

    /// Goes on for that long, and tells whether it came to its end.
    fn run_for(&mut self, zoned: &Zoned, time: Duration) -> bool {
        let end = Instant::now() + time;
        while let Some(child) = &mut self.child {
            if let Some(status) = child.try_wait().expect("wait") {
                if !status.success() {
                    let child = self.child.take().expect("it was there");
                    let out = child.wait_with_output().expect("wait");
                    panic!("{:?}: {}", self.steps[self.done].0, String::from_utf8_lossy(&out.stderr));
                }
                self.child = None;
                self.done += 1;
                self.next(zoned);
                continue;
            }
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_micros(300));
        }
        true
    }

    fn end(self) {
        if let Some(mut child) = self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for the step that is under way, which may fail.
    fn settle(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.done += usize::from(child.wait().expect("wait").success());
        }
    }
}

const OPERATIONS: [&str; 16] = [
    "pull",
    "import",
    "import-archive",
    "install",
    "snapshot",
    "snapshot-live",
    "snapshot-delete",
    "clone",
    "clone-live",
    "rollback",
    "receive",
    "receive-change",
    "move",
    "detach",
    "prune",
    "commit",
];

/// A host on which things break, and what must be there afterwards.
struct Story {
    zoned: Zoned,
    stock: Stock,
    dice: Dice,
    place: PathBuf,
    look: PathBuf,
    version: u32,
    /// Snapshots of z that were acknowledged, and of r, by ZONE@SNAP: their versions.
    snapshots: BTreeMap<String, u32>,
    /// Images that are there for sure.
    images: BTreeSet<String>,
    /// What z may be at.
    may_be: BTreeSet<u32>,
    /// How long each operation takes.
    usual: BTreeMap<&'static str, Duration>,
    counter: u32,
}

impl Story {
    fn begin(zoned: Zoned, stock: Stock, place: PathBuf, look: PathBuf) -> Self {
        let mut story = Self {
            zoned,
            stock,
            dice: Dice::new(),
            place,
            look,
            version: 0,
            snapshots: BTreeMap::new(),
            images: BTreeSet::new(),
            may_be: BTreeSet::new(),
            usual: BTreeMap::new(),
            counter: 0,
        };
        story.ok(&["create", "z"]);
        story.ok(&["install", "z", &format!("dir:{}", busybox_root().display())]);
        // Another one whose layers nobody may lose, whatever is done to the first; it comes later in the alphabet.
        story.ok(&["create", "zz"]);
        story.ok(&["install", "zz", &format!("dir:{}", busybox_root().display())]);
        story.write("zz", 7777);
        story.ok(&["snapshot", "zz@kept"]);
        story.snapshots.insert("zz@kept".into(), 7777);
        story.next_version();
        story.ok(&["snapshot", "z@first"]);
        story.snapshots.insert("z@first".into(), story.version);
        story
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        self.zoned.zonectl(words).ok()
    }

    /// What a version looks like.
    fn want(&self, version: u32) -> String {
        let lines: BTreeSet<String> = (1..=12).map(|i| format!("{version} {i}")).collect();
        let lines: Vec<String> = lines.into_iter().collect();
        let busybox = busybox_root().join("bin/busybox");
        let script = "head -c 20000 \"$0\" | md5sum; md5sum < \"$0\"";
        let sums = run(&["sh", "-c", script, text(&busybox)]);
        format!("{version}\nonly-{version}\ndeep\ndir-{version}\n33:44\n2\n{}\n{sums}", lines.join("\n"))
    }

    /// Boots a zone, has it write, and halts it; all of it is on the disk then.
    fn write(&self, name: &str, version: u32) {
        self.ok(&["boot", name, "-i", "none"]);
        self.zoned.sh(name, &writing(version));
        self.ok(&["halt", name]);
        run(&["sync", "-f", text(&self.place)]);
    }

    fn next_version(&mut self) {
        self.version += 1;
        self.write("z", self.version);
        self.may_be = BTreeSet::from([self.version]);
    }

    fn record(&self, name: &str) -> Value {
        let path = self.zoned.root().join("zones").join(name).join("state.json");
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn trees(&self, layers: &Value) -> Vec<PathBuf> {
        let layers = layers.as_array().cloned().unwrap_or_default();
        let root = self.zoned.root();
        let tree = |layer: &Value| match layer.as_str().expect("a name").split_once(':') {
            Some((_, hex)) => root.join("images/sha256").join(hex).join("fs"),
            // On btrfs it is a part of a subvolume.
            None => {
                let folder = root.join("layers").join(layer.as_str().expect("a name"));
                let own = folder.join("own");
                if own.is_dir() { own.join("upper") } else { folder.join("fs") }
            }
        };
        layers.iter().map(tree).collect()
    }

    fn listed(&self, name: &str) -> Vec<Value> {
        serde_json::from_str(&self.ok(&["--json", "snapshots", name])).expect("JSON")
    }

    fn zones(&self) -> Vec<(String, String)> {
        let all: Value = serde_json::from_str(&self.ok(&["--json", "list", "-c"])).expect("JSON");
        let all = all.get("zones").cloned().unwrap_or(all);
        let word = |zone: &Value, key: &str| zone[key].as_str().expect("a word").to_owned();
        all.as_array().into_iter().flatten().map(|zone| (word(zone, "name"), word(zone, "state"))).collect()
    }

    fn forget(&self, name: &str) {
        if self.zones().iter().any(|(other, _)| other == name) {
            self.ok(&["delete", name, "-F"]);
        }
    }

    fn some_snapshot(&mut self) -> (String, u32) {
        let all: Vec<_> = self.snapshots.iter().filter(|(name, _)| name.starts_with("z@")).collect();
        let (name, version) = all[self.dice.below(all.len() as u64) as usize];
        (name.clone(), *version)
    }

    /// Makes ready what the operation needs, and begins it. What is not acknowledged may be there or not.
    fn prepare(&mut self, operation: &str) -> Vec<(Vec<String>, Option<PathBuf>)> {
        self.counter += 1;
        let count = self.counter;
        let which = self.dice.below(3) as usize;
        let layout = self.stock.layouts[which].clone();
        let source = format!("oci:{}:1", layout.display());
        if matches!(operation, "import" | "import-archive" | "pull" | "install") {
            for name in ["c", "i"] {
                self.forget(name);
            }
            for image in std::mem::take(&mut self.images) {
                self.ok(&["image", "rm", &image]);
            }
            self.ok(&["image", "prune"]);
        }
        if matches!(operation, "snapshot" | "clone" | "detach" | "move") && self.dice.below(2) == 0 {
            self.next_version();
        }
        let name = format!("image{count}");
        match operation {
            "pull" => {
                let port = self.stock.registry.as_ref().map(|(_, port)| port);
                let from = port.map_or(source, |port| format!("docker://127.0.0.1:{port}/i{which}:1"));
                vec![Doing::step(&["image", "import", &from, &name], None)]
            }
            "import" => vec![Doing::step(&["image", "import", &source, &name], None)],
            "import-archive" => {
                let source = format!("docker-archive:{}", self.stock.archive.display());
                vec![Doing::step(&["image", "import", &source, &name], None)]
            }
            "install" => {
                self.ok(&["create", "i"]);
                let mut steps = Vec::new();
                let mut from = source.clone();
                if self.dice.below(2) == 0 {
                    self.ok(&["image", "import", &source, &name]);
                    self.images.insert(name.clone());
                    from = format!("image:{name}");
                }
                steps.push(Doing::step(&["install", "i", &from], None));
                steps
            }
            "snapshot" => vec![Doing::step(&["snapshot", &format!("z@s{count}")], None)],
            "snapshot-live" => {
                self.ok(&["boot", "z", "-i", "none"]);
                if self.dice.below(3) > 0 {
                    // The next one has only what changed since.
                    self.version += 1;
                    self.zoned.sh("z", &writing(self.version));
                    let before = format!("z@before{count}");
                    self.ok(&["snapshot", &before]);
                    self.snapshots.insert(before, self.version);
                    sleep(Duration::from_millis(1100));
                }
                self.version += 1;
                self.zoned.sh("z", &writing(self.version));
                run(&["sync", "-f", text(&self.place)]);
                self.may_be = BTreeSet::from([self.version]);
                vec![Doing::step(&["snapshot", &format!("z@s{count}")], None)]
            }
            "snapshot-delete" => {
                let (name, _) = self.some_snapshot();
                if name == "z@first" {
                    return Vec::new();
                }
                vec![Doing::step(&["snapshot", "-d", &name], None)]
            }
            "clone" => {
                self.forget("c");
                vec![Doing::step(&["clone", "z", "c"], None)]
            }
            "clone-live" => {
                self.forget("c");
                self.ok(&["boot", "z", "-i", "none"]);
                vec![Doing::step(&["clone", "z", "c"], None)]
            }
            "rollback" => {
                let (name, _) = self.some_snapshot();
                vec![Doing::step(&["rollback", &name], None)]
            }
            "receive" => {
                self.forget("r");
                self.snapshots.retain(|name, _| !name.starts_with("r@"));
                vec![Doing::step(&["receive", "r"], Some(&self.stock.whole))]
            }
            "receive-change" => {
                self.forget("r");
                self.snapshots.retain(|name, _| !name.starts_with("r@"));
                let steps = vec![Doing::step(&["receive", "r"], Some(&self.stock.whole))];
                let mut first = Doing::start(&self.zoned, steps);
                assert!(first.run_for(&self.zoned, Duration::from_secs(60)));
                self.snapshots.insert("r@a".into(), 1001);
                vec![Doing::step(&["receive", "r"], Some(&self.stock.change))]
            }
            "move" => {
                let to = self.place.join(format!("place{count}"));
                vec![Doing::step(&["move", "z", text(&to)], None)]
            }
            "detach" => {
                let zone = self.zoned.zone("z").expect("z");
                let path = zone["path"].as_str().expect("a path").to_owned();
                vec![Doing::step(&["detach", "z"], None), Doing::step(&["attach", "z", &path], None)]
            }
            "prune" => {
                let name = format!("image{count}");
                self.ok(&["image", "import", &source, &name]);
                vec![Doing::step(&["image", "rm", &name], None), Doing::step(&["image", "prune"], None)]
            }
            "commit" => {
                let snap = self.some_snapshot().0;
                vec![Doing::step(&["commit", &snap, &name], None)]
            }
            _ => unreachable!("{operation}"),
        }
    }

    /// What is sure after `doing`, and what is not.
    fn account(&mut self, operation: &str, doing: &Doing) {
        let all = doing.done == doing.steps.len();
        let Some((words, _)) = doing.steps.first() else { return };
        match operation {
            "pull" | "import" | "import-archive" if all => drop(self.images.insert(words[3].clone())),
            "commit" if all => drop(self.images.insert(words[2].clone())),
            "snapshot" | "snapshot-live" if all => {
                let at = *self.may_be.iter().next().expect("it is known");
                self.snapshots.insert(words[1].clone(), at);
            }
            // Begun is as good as done: what is there of it then is whole, but need not be there.
            "snapshot-delete" => drop(self.snapshots.remove(&words[2])),
            "rollback" => {
                let to = self.snapshots[&words[1]];
                if all {
                    self.may_be.clear();
                }
                self.may_be.insert(to);
            }
            "receive" if all => drop(self.snapshots.insert("r@a".into(), 1001)),
            "receive-change" if all => drop(self.snapshots.insert("r@b".into(), 1002)),
            _ => {}
        }
    }

    /// Everything that must be so, however it broke.
    fn check(&mut self, operation: &str, all: bool, story: &str) {
        // It answers once it has recovered.
        self.ok(&["list", "-c"]);
        let tmp = fs::read_dir(self.zoned.root().join("images/tmp")).expect("the store").count();
        assert_eq!(tmp, 0, "{story}: images/tmp is not empty");
        let trash = self.zoned.root().join("zones/.trash");
        assert_eq!(fs::read_dir(trash).map_or(0, Iterator::count), 0, "{story}: the trash is not empty");
        let mut used = BTreeSet::new();
        for (name, state) in self.zones() {
            assert!(
                ["configured", "incomplete", "installed", "running"].contains(&state.as_str()),
                "{story}: {name} is {state}"
            );
            let record = self.record(&name);
            assert!(state == "incomplete" || record["change"].is_null(), "{story}: {name} {record}");
            used.extend(self.trees(&record["layers"]));
            if state == "incomplete" {
                used.extend(self.trees(&record["change"]["replace"]));
                used.extend(self.trees(&record["change"]["receive"]["layers"]));
            } else {
                for layer in self.trees(&record["layers"]) {
                    assert!(layer.is_dir(), "{story}: {name}: no {}", layer.display());
                }
            }
            for snapshot in self.listed(&name) {
                let snap = format!("{name}@{}", snapshot["name"].as_str().expect("a name"));
                used.extend(self.trees(&snapshot["layers"]));
                let trees = self.trees(&snapshot["layers"]);
                let look = look_at(&trees, &self.look).unwrap_or_else(|e| panic!("{story}: {snap}: {e}"));
                let version: u32 = look.lines().next().and_then(|v| v.parse().ok()).unwrap_or(0);
                assert_eq!(look, self.want(version), "{story}: {snap}");
                if let Some(want) = self.snapshots.get(&snap) {
                    assert_eq!(version, *want, "{story}: {snap} is another version");
                } else if state != "incomplete" && name == "z" {
                    // Whole, though nobody was told.
                    self.snapshots.insert(snap, version);
                }
            }
        }
        for own in fs::read_dir(self.zoned.root().join("layers")).expect("the store").flatten() {
            let is_used = used.iter().any(|tree| tree.starts_with(own.path()));
            assert!(is_used, "{story}: nobody needs {}", own.path().display());
            assert!(own.path().join("layer.json").is_file(), "{story}: {}", own.path().display());
        }
        let there: BTreeSet<String> = ["z", "zz", "r"]
            .iter()
            .filter(|name| self.zoned.zone(name).is_some())
            .flat_map(|name| {
                let of = move |s: &Value| format!("{name}@{}", s["name"].as_str().expect("a name"));
                self.listed(name).iter().map(of).collect::<Vec<_>>()
            })
            .collect();
        let detached = operation == "detach" && self.zoned.state("z").as_deref() == Some("configured");
        for snap in self.snapshots.keys() {
            assert!(there.contains(snap) || detached && snap.starts_with("z@"), "{story}: {snap} is lost");
        }
        self.ok(&["image", "verify"]);
        let images: Value = serde_json::from_str(&self.ok(&["--json", "image", "list"])).expect("JSON");
        let images: BTreeSet<String> = images
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|image| Some(image["name"].as_str()?.split(':').next()?.to_owned()))
            .collect();
        assert!(images.is_superset(&self.images), "{story}: {:?} of {images:?}", self.images);
        self.images = images;

        if detached {
            // It was let go of, or is not yet taken in again.
            let (words, _) = Doing::step(&["attach", "z"], None);
            let own = self.zoned.root().join("zones/z");
            let places = fs::read_dir(&self.place).expect("it is there").flatten().map(|entry| entry.path());
            let place = places.chain([own]).find(|place| place.join("zone.json").exists());
            let place = place.unwrap_or_else(|| panic!("{story}: z is lost"));
            self.ok(&[&words[0], &words[1], text(&place)]);
            for snap in self.snapshots.keys().filter(|snap| snap.starts_with("z@")) {
                let listed = self.listed("z");
                let is = |s: &Value| snap.ends_with(&format!("@{}", s["name"].as_str().expect("a name")));
                assert!(listed.iter().any(is), "{story}: {snap} is lost");
            }
            assert!(!self.zoned.root().join("zones/z/zone.json").exists(), "{story}");
        }
        // z is whole, and is what it was or what it was to become.
        let seen = self.boot_and_look("z", story);
        let version: u32 = seen.lines().next().and_then(|v| v.parse().ok()).unwrap_or(0);
        assert_eq!(seen, self.want(version), "{story}: z");
        assert!(self.may_be.contains(&version), "{story}: z is at {version}, not {:?}", self.may_be);
        self.may_be = BTreeSet::from([version]);
        for (name, wanted) in [("c", Some(version)), ("i", None), ("r", None)] {
            let Some(state) = self.zoned.state(name) else {
                let mine = match name {
                    "c" => operation.starts_with("clone"),
                    "r" => operation == "receive",
                    _ => false,
                };
                assert!(!(mine && all), "{story}: {name} is lost");
                continue;
            };
            let begun = match name {
                "c" => operation.starts_with("clone"),
                "i" => operation == "install",
                _ => operation == "receive",
            };
            match state.as_str() {
                "incomplete" | "configured" => {
                    assert!(begun && !all, "{story}: {name} is {state}");
                    if state == "incomplete" {
                        self.ok(&["uninstall", name, "-F"]);
                    }
                    match name {
                        "c" => drop(self.ok(&["clone", "z", "c"])),
                        "i" => drop(self.ok(&[
                            "install",
                            "i",
                            &format!("oci:{}:1", self.stock.layouts[0].display()),
                        ])),
                        _ => {
                            self.forget("r");
                            let again = vec![Doing::step(&["receive", "r"], Some(&self.stock.whole))];
                            assert!(
                                Doing::start(&self.zoned, again)
                                    .run_for(&self.zoned, Duration::from_secs(60))
                            );
                            self.snapshots.insert("r@a".into(), 1001);
                        }
                    }
                }
                _ => {}
            }
            if name == "i" {
                // What is installed has its program.
                assert_eq!(self.ok(&["get", "i", "init"]), "/bin/busybox\n", "{story}");
                assert!(self.ok(&["get", "i", "env"]).contains("OF=image"), "{story}");
                self.ok(&["boot", "i", "-i", "none"]);
                let said = self
                    .zoned
                    .sh("i", "cat /etc/new; ls /opt/deep | wc -l; cat /opt/deep/passwd | head -c 4");
                assert_eq!(said, "s5\nroot", "{story}");
                self.ok(&["halt", "i"]);
            } else if begun || operation == "receive-change" && name == "r" {
                let seen = self.boot_and_look(name, story);
                let version: u32 = seen.lines().next().and_then(|v| v.parse().ok()).unwrap_or(0);
                assert_eq!(seen, self.want(version), "{story}: {name}");
                match wanted {
                    Some(wanted) => assert_eq!(version, wanted, "{story}: {name}"),
                    None if self.snapshots.contains_key("r@b") => assert_eq!(version, 1002, "{story}"),
                    None => {
                        let have = self.listed("r").iter().any(|s| s["name"] == "b");
                        assert_eq!(
                            version,
                            if have { 1002 } else { 1001 },
                            "{story}: r is not at its snapshot"
                        );
                    }
                }
            }
        }
    }

    fn boot_and_look(&self, name: &str, story: &str) -> String {
        if self.zoned.state(name).as_deref() != Some("running") {
            let booted = self.zoned.zonectl(&["boot", name, "-i", "none"]);
            assert!(booted.status == Some(0), "{story}: {booted}");
        }
        let seen = self.zoned.zonectl(&["login", name, "--", "sh", "-c", &format!("cd / && {LOOK}")]);
        assert!(seen.status == Some(0), "{story}: {name}: {seen}");
        self.ok(&["halt", name]);
        seen.stdout
    }

    /// One of all, or of those that ZONES_POWER_ONLY names, with commas.
    fn operation(&mut self) -> &'static str {
        let only = std::env::var("ZONES_POWER_ONLY").unwrap_or_default();
        let is_meant = |name: &&&str| only.is_empty() || only.split(',').any(|word| word == **name);
        let all: Vec<&&str> = OPERATIONS.iter().filter(is_meant).collect();
        all[self.dice.below(all.len() as u64) as usize]
    }

    fn moment(&mut self, operation: &'static str) -> Duration {
        let usual = self.usual.get(operation).copied().unwrap_or(Duration::from_millis(80));
        Duration::from_micros(self.dice.below(usual.as_micros() as u64 * 5 / 4))
    }

    /// One operation, until it is done or its moment has come.
    fn act(&mut self, operation: &'static str) -> (Doing, bool, Duration) {
        let steps = self.prepare(operation);
        let moment = self.moment(operation);
        let began = Instant::now();
        let mut doing = Doing::start(&self.zoned, steps);
        let all = doing.run_for(&self.zoned, moment);
        if doing.steps.is_empty() {
            return (doing, true, moment);
        }
        if all {
            self.usual.insert(operation, began.elapsed());
        } else {
            // So that those that are slower than was thought come to be cut late, too.
            let usual = self.usual.entry(operation).or_insert(Duration::from_millis(80));
            *usual = usual.mul_f64(1.15).max(moment);
        }
        (doing, all, moment)
    }

    fn all_gone(&self) {
        for (name, _) in self.zones() {
            self.ok(&["delete", &name, "-F"]);
        }
        for image in &self.images {
            self.ok(&["image", "rm", image]);
        }
        self.ok(&["image", "prune"]);
        for folder in
            ["layers", "images/sha256", "images/tmp", "images/pull", "images/blobs/sha256", "zones/.trash"]
        {
            let left: Vec<_> =
                fs::read_dir(self.zoned.root().join(folder)).into_iter().flatten().flatten().collect();
            assert!(left.is_empty(), "{folder}: {left:?}");
        }
    }
}

#[test]
fn what_was_acknowledged_outlives_a_power_cut_and_nothing_is_half() {
    let scratch = tempfile::tempdir_in(target()).expect("a folder");
    let stock = stock(scratch.path());
    let host = scratch.path().join("host");
    let kind = std::env::var("ZONES_POWER_DISK").unwrap_or("ext4".into());
    let disk = Disk::make(scratch.path(), &host, 700, &kind);
    let zoned = Zoned::start_as(How { alone: true, place: Some(host.clone()), ..How::default() });
    let mut story = Story::begin(zoned, stock, host.clone(), scratch.path().join("look"));
    run(&["sync", "-f", text(&host)]);
    let mut tally: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for round in 0..rounds("ZONES_POWER_ROUNDS", 25) {
        let operation = story.operation();
        let (doing, all, moment) = story.act(operation);
        let chance = [0, 0, 50, 100][story.dice.below(4) as usize];
        let cut = disk.cut(&mut story.dice, chance);
        story.account(operation, &doing);
        let done = doing.done;
        doing.end();
        let spare: Vec<u32> = story.stock.registry.iter().map(|(child, _)| child.id()).collect();
        story.zoned.kill_all(&spare);
        disk.restore();
        story.zoned.start_again();
        let tale = format!("round {round}: {operation} cut after {moment:?} ({done} steps done), {cut:?}");
        eprintln!("{tale}");
        let count = tally.entry(operation).or_default();
        *count = (count.0 + 1, count.1 + u32::from(all));
        story.check(operation, all, &tale);
    }
    eprintln!("rounds and those that were done before the cut: {tally:?}");
    story.all_gone();
    drop(story);
    drop(disk);
}

#[test]
fn what_was_acknowledged_outlives_kills_of_zoned_and_nothing_is_half() {
    let scratch = tempfile::tempdir_in(target()).expect("a folder");
    let stock = stock(scratch.path());
    let host = scratch.path().join("host");
    fs::create_dir(&host).expect("make a folder");
    let zoned = Zoned::start_as(How { alone: true, place: Some(host.clone()), ..How::default() });
    let mut story = Story::begin(zoned, stock, host, scratch.path().join("look"));
    let mut tally: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for round in 0..rounds("ZONES_KILL_ROUNDS", 25) {
        let operation = story.operation();
        let (mut doing, mut all, moment) = story.act(operation);
        let pullers = pullers(story.zoned.pid());
        let who = if pullers.is_empty() || story.dice.below(2) == 0 {
            story.zoned.kill9();
            "zoned"
        } else {
            for pid in pullers {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            doing.settle();
            all = doing.done == doing.steps.len();
            "its puller"
        };
        story.account(operation, &doing);
        let done = doing.done;
        doing.end();
        if who == "zoned" {
            story.zoned.start_again();
        }
        let tale = format!("round {round}: {operation}: {who} killed after {moment:?} ({done} steps done)");
        eprintln!("{tale}");
        let count = tally.entry(operation).or_default();
        *count = (count.0 + 1, count.1 + u32::from(all));
        story.check(operation, all, &tale);
    }
    eprintln!("rounds and those that were done before the kill: {tally:?}");
    story.all_gone();
}
