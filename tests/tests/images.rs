//! Images that umoci and skopeo made: what comes of them is what umoci itself makes of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use zones_tests::{How, Zoned, busybox_root, eventually, is_machine, run, shares_layers, text};

/// A layout with an image of three layers: a root with all that a file can be, one that adds, hides and replaces, and
/// one that makes a folder opaque.
fn layout(dir: &Path) -> PathBuf {
    let layout = dir.join("layout");
    let image = format!("{}:12", layout.display());
    run(&["umoci", "init", "--layout", text(&layout)]);
    run(&["umoci", "new", "--image", &image]);
    let root = dir.join("files");
    run(&["cp", "-a", text(&busybox_root()), text(&root)]);
    let made = |name: &str, text: &str, mode: u32, owner: u32| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("make a folder");
        fs::write(&path, text).expect("write a file");
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).expect("give it away");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set its mode");
    };
    made("opt/app/run", "#!/bin/sh\nexec sleep 1000\n", 0o4755, 0);
    made("opt/app/data", "theirs", 0o640, 1000);
    made("opt/last", "of 65534", 0o600, 65534);
    made("var/cache/old", "old", 0o644, 0);
    made("etc/gone", "gone", 0o644, 0);
    fs::hard_link(root.join("opt/app/data"), root.join("opt/linked")).expect("link");
    symlink("../opt/app", root.join("var/app")).expect("link");
    symlink("/nowhere", root.join("var/dangling")).expect("link");
    run(&["mkfifo", "-m", "600", text(&root.join("var/fifo"))]);
    run(&["setfattr", "-n", "user.mine", "-v", "1", text(&root.join("opt/app/data"))]);
    run(&["truncate", "-s", "3M", text(&root.join("opt/holes"))]);
    run(&["umoci", "insert", "--image", &image, text(&root), "/"]);
    let more = dir.join("more");
    fs::create_dir(&more).expect("make a folder");
    fs::write(more.join("new"), "new").expect("write a file");
    run(&["umoci", "insert", "--image", &image, text(&more.join("new")), "/etc/new"]);
    run(&["umoci", "insert", "--image", &image, text(&more.join("new")), "/opt/app/data"]);
    run(&["umoci", "insert", "--whiteout", "--image", &image, "/etc/gone"]);
    run(&["umoci", "insert", "--opaque", "--image", &image, text(&more), "/var/cache"]);
    layout
}

/// Every file but what a zone mounts or makes: kind, mode, owner, target and content.
const LIST: &str = "cd $1 && find . -xdev | grep -Ev '^./(proc|sys|dev|run)(/|$)' | sort | while read -r f; do \
    set -- $(stat -c '%f %u %g' \"$f\"); sum=-; [ -f \"$f\" ] && [ ! -h \"$f\" ] && sum=$(md5sum < \"$f\"); \
    echo \"$f $* $(readlink \"$f\") $sum\"; done";

fn listed(root: &Path) -> String {
    let busybox = busybox_root().join("bin/busybox");
    run(&[text(&busybox), "sh", "-c", LIST, "sh", text(root)])
}

#[track_caller]
fn images(zoned: &Zoned) -> Vec<Value> {
    let listed = zoned.zonectl(&["--json", "image", "list"]).ok();
    serde_json::from_str(&listed).expect("image list --json is an array")
}

fn leftovers(zoned: &Zoned) -> Vec<String> {
    let entries = fs::read_dir(zoned.root().join("images/tmp")).expect("it is there").flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

fn layers(zoned: &Zoned) -> usize {
    fs::read_dir(zoned.root().join("images/sha256")).expect("it is there").count()
}

#[test]
fn files_of_an_image_are_those_that_umoci_unpacks() {
    let zoned = Zoned::start();
    let dir = zoned.scratch();
    let layout = layout(dir);
    let bundle = dir.join("bundle");
    run(&["umoci", "unpack", "--image", &format!("{}:12", layout.display()), text(&bundle)]);
    let want = listed(&bundle.join("rootfs"));
    assert!(want.contains("./etc/new ") && !want.contains("./etc/gone ") && !want.contains("var/cache/old "));

    // Each form that skopeo writes it in, from a file and from stdin.
    let from = format!("oci:{}:12", layout.display());
    let to = |kind: &str, name: &str, tag: &str| format!("{kind}:{}{tag}", dir.join(name).display());
    run(&["skopeo", "--insecure-policy", "copy", "-q", &from, &to("oci-archive", "a.tar", ":12")]);
    run(&[
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        &from,
        &to("docker-archive", "d.tar", ":example.com/app:12"),
    ]);
    run(&[
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        "--dest-compress-format",
        "zstd",
        &from,
        &to("oci", "zstd", ":12"),
    ]);
    let sources = [
        from.clone(),
        to("oci", "a.tar", ":12"),
        to("docker-archive", "d.tar", ""),
        to("oci", "zstd", ":12"),
    ];
    for (i, source) in sources.iter().enumerate() {
        zoned.zonectl(&["image", "import", source, &format!("i{i}")]).ok();
        // The same files by whatever way: nothing comes in twice.
        assert_eq!(layers(&zoned), 5, "{source}");
    }
    for (i, (kind, name)) in [("oci", "a.tar"), ("docker-archive", "d.tar")].iter().enumerate() {
        let mut command = zoned.command(&["image", "import", &format!("{kind}:-"), &format!("s{i}")]);
        command.stdin(fs::File::open(dir.join(name)).expect("open it"));
        let output = command.output().expect("run zonectl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let all = images(&zoned);
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|image| image["layers"].as_array().map(Vec::len) == Some(5)));
    zoned.zonectl(&["image", "verify"]).ok();

    zoned.zonectl(&["create", "z", "profile=false"]).ok();
    zoned.zonectl(&["install", "z", "image:i0"]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let have = zoned.zonectl(&["login", "z", "--", "sh", "-c", LIST, "sh", "/"]).ok();
    let differ =
        |a: &str, b: &str| a.lines().filter(|line| !b.contains(line)).map(str::to_owned).collect::<Vec<_>>();
    // Boot makes no files in it; the root folder's links are of what is mounted.
    let (more, less) = (differ(&have, &want), differ(&want, &have));
    assert!(more.is_empty() && less.is_empty(), "only here: {more:#?}\nonly there: {less:#?}");
    let attribute = zoned.root().join("images/sha256");
    let holes = walk(&attribute, "opt/holes");
    assert!(holes.blocks() * 512 < 1 << 20, "its holes are written out");
    zoned.zonectl(&["halt", "z"]).ok();
    // The image may go, and what the zone is made of stays.
    for image in images(&zoned) {
        zoned.zonectl(&["image", "rm", image["name"].as_str().expect("a name")]).ok();
    }
    zoned.zonectl(&["image", "prune"]).ok();
    // Its boot made files of the zone's own of them where layers cannot be shared.
    let kept = if shares_layers() { 5 } else { 0 };
    assert_eq!(layers(&zoned), kept);
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    zoned.zonectl(&["halt", "z"]).ok();
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    zoned.zonectl(&["image", "prune", "-n"]).ok();
    assert_eq!(layers(&zoned), kept);
    zoned.zonectl(&["image", "prune"]).ok();
    assert_eq!(layers(&zoned), 0);
}

/// A file of the one layer that has it.
fn walk(layers: &Path, name: &str) -> fs::Metadata {
    let found =
        fs::read_dir(layers).expect("it is there").flatten().map(|layer| layer.path().join("fs").join(name));
    fs::symlink_metadata(found.into_iter().find(|path| path.exists()).expect("a layer has it"))
        .expect("it is there")
}

#[test]
fn an_image_says_how_its_program_is_started() {
    let zoned = Zoned::start();
    let layout = layout(zoned.scratch());
    let image = format!("{}:12", layout.display());
    run(&["umoci", "config", "--image", &image, "--config.entrypoint", "sh", "--config.entrypoint", "-c"]);
    let script = "echo \"$GREETING $(id -u):$(id -g) in $(pwd), $HOME\";\necho second line > /dev/stdout; \
        trap 'echo asked to end; exit 0' TERM; while :; do sleep 0.1; done";
    run(&["umoci", "config", "--image", &image, "--config.cmd", script, "--config.user", "guest:1000"]);
    run(&[
        "umoci",
        "config",
        "--image",
        &image,
        "--config.env",
        "GREETING=hello",
        "--config.env",
        "PATH=/bin:/opt/app",
    ]);
    run(&[
        "umoci",
        "config",
        "--image",
        &image,
        "--config.workingdir",
        "/srv/new",
        "--config.label",
        "a.b=c d",
    ]);
    let source = format!("oci:{image}");
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["install", "z", &source]).ok();
    let shown = zoned.zonectl(&["export", "z"]).ok();
    for line in [
        "init = \"/bin/sh\"",
        "env = [\"GREETING=hello\", \"PATH=/bin:/opt/app\"]",
        "user = \"guest:1000\"",
        "workdir = \"/srv/new\"",
        "name = \"label.a.b\"",
        "value = \"c d\"",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    zoned.zonectl(&["boot", "z"]).ok();
    let log = zoned.root().join("zones/z/console.log");
    let console = || fs::read_to_string(&log).unwrap_or_default();
    eventually("the program's second line", 20, || console().contains("second line"));
    assert!(console().contains("hello 1000:1000 in /srv/new, /tmp"), "{}", console());
    // Logins have its variables, and are who they are.
    assert_eq!(zoned.sh("z", "echo $GREETING $PATH $(id -u) $HOME").trim(), "hello /bin:/opt/app 0 /root");
    assert_eq!(zoned.sh("z", "cat /proc/cmdline").lines().count(), 1);
    // It has a shell that waits for nothing but its end, and no poweroff is asked for.
    zoned.zonectl(&["shutdown", "z", "-t", "20"]).ok();
    assert!(console().contains("asked to end"), "{}", console());
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));

    // What somebody set is his.
    zoned.zonectl(&["create", "own", "init=none", "user=root", "workdir=/tmp", "env=A=b"]).ok();
    zoned.zonectl(&["install", "own", &source]).ok();
    let shown = zoned.zonectl(&["export", "own"]).ok();
    for line in ["init = \"none\"", "user = \"root\"", "workdir = \"/tmp\"", "env = [\"A=b\"]"] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    assert!(!shown.contains("bootargs"), "{shown}");
    // An image whose program is a shell for somebody to sit at is a root and no more.
    run(&["umoci", "config", "--image", &image, "--clear=config.entrypoint", "--config.cmd", "/bin/sh"]);
    zoned.zonectl(&["create", "root"]).ok();
    zoned.zonectl(&["install", "root", &source]).ok();
    assert!(!zoned.zonectl(&["export", "root"]).ok().contains("init ="));
    zoned.zonectl(&["create", "none"]).ok();
    zoned.zonectl(&["install", "none", "image:nothing"]).code(1).says(&["there is no image nothing"]);
    zoned.zonectl(&["set", "none", "user=:"]).code(2);
    zoned.zonectl(&["set", "none", "env=x"]).code(2).says(&["NAME=VALUE"]);
}

/// A layout of one layer with files of that many MiB.
/// An emulated processor takes seconds for each.
fn mib(usual: u32) -> u32 {
    if is_machine() { usual / 4 } else { usual }
}

fn large(dir: &Path, mib: u32) -> PathBuf {
    let (root, layout) = (dir.join("large"), dir.join("large-layout"));
    run(&["cp", "-a", text(&busybox_root()), text(&root)]);
    for i in 0..mib {
        let file = root.join(format!("file{i}"));
        run(&["dd", "if=/dev/urandom", &format!("of={}", file.display()), "bs=1M", "count=1", "status=none"]);
    }
    let image = format!("{}:1", layout.display());
    run(&["umoci", "init", "--layout", text(&layout)]);
    run(&["umoci", "new", "--image", &image]);
    run(&["umoci", "insert", "--image", &image, text(&root), "/"]);
    layout
}

#[test]
fn a_killed_import_leaves_nothing_that_stays() {
    let mut zoned = Zoned::start();
    let layout = large(zoned.scratch(), mib(48));
    let source = format!("oci:{}:1", layout.display());
    for pause in [10, 40, 120, 300] {
        let import = zoned.spawn(&["image", "import", &source, "big"]);
        sleep(Duration::from_millis(pause));
        zoned.kill9();
        import.finish();
        zoned.start_again();
        eventually("that the drafts are gone", 20, || leftovers(&zoned).is_empty());
        // What is in the store is whole, whether or not the kill came before its name.
        zoned.zonectl(&["image", "verify"]).ok();
    }
    zoned.zonectl(&["image", "import", &source, "big"]).ok();
    zoned.zonectl(&["image", "verify", "big"]).ok();
    zoned.zonectl(&["image", "rm", "big"]).ok();
    zoned.zonectl(&["image", "rm", "big"]).code(1).says(&["there is no image"]);
    zoned.zonectl(&["image", "prune"]).ok();
    assert_eq!(layers(&zoned), 0);
}

#[test]
fn a_full_disk_takes_nothing_in() {
    let zoned = Zoned::start_as(How { small_disk: Some(mib(48)), ..How::default() });
    let layout = large(zoned.scratch(), mib(60));
    let source = format!("oci:{}:1", layout.display());
    zoned.zonectl(&["image", "import", &source, "big"]).code(1).says(&["no space left"]);
    assert!(images(&zoned).is_empty());
    // The same by way of a stream, which is kept on the disk meanwhile.
    run(&[
        "skopeo",
        "--insecure-policy",
        "copy",
        "-q",
        &source,
        &format!("oci-archive:{}:1", zoned.scratch().join("a.tar").display()),
    ]);
    let mut command = zoned.command(&["image", "import", "oci:-", "big"]);
    command.stdin(fs::File::open(zoned.scratch().join("a.tar")).expect("open it"));
    let output = command.output().expect("run zonectl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("no space left"), "{said}");
    let pruned = zoned.zonectl(&["--json", "image", "prune", "-n"]).ok();
    let pruned: Value = serde_json::from_str(&pruned).expect("a document");
    assert_eq!(pruned["layers"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_damaged_layer_is_told_with_those_who_need_it() {
    let zoned = Zoned::start();
    let layout = layout(zoned.scratch());
    zoned.zonectl(&["image", "import", &format!("oci:{}:12", layout.display()), "one"]).ok();
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["install", "z", "image:one"]).ok();
    let layers = zoned.root().join("images/sha256");
    let bad =
        fs::read_dir(&layers).expect("it is there").flatten().map(|layer| layer.path().join("fs/opt/last"));
    let bad = bad.into_iter().find(|path| path.exists()).expect("a layer has it");
    fs::write(&bad, "of 65535").expect("damage it");
    let told = zoned.zonectl(&["image", "verify"]).code(1).stdout;
    // Where kernels cannot share layers the zone has files of its own.
    let zones = if shares_layers() { "; zones that need it: z" } else { "" };
    assert!(told.contains(&format!("images that need it: one:latest{zones}")), "{told}");
    let verified = zoned.zonectl(&["--json", "image", "verify", "--repair"]);
    let verified: Value = serde_json::from_str(&verified.stdout).expect("a document");
    let damage = &verified["damage"][0];
    assert_eq!(damage["images"][0], "one:latest", "{verified}");
    assert_eq!(damage["zones"].as_array().map(Vec::len), Some(shares_layers().into()), "{verified}");
    assert_eq!(damage["repaired"], false, "what somebody needs stays");
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    zoned.zonectl(&["image", "rm", "one"]).ok();
    zoned.zonectl(&["image", "verify", "--repair"]).ok();
    assert!(!bad.exists());
    zoned.zonectl(&["image", "verify"]).ok();
}

#[test]
fn images_are_made_of_tars_and_folders() {
    let zoned = Zoned::start();
    let root = busybox_root();
    let tar = zoned.scratch().join("root.tar");
    run(&["tar", "-C", text(&root), "-cf", text(&tar), "."]);
    zoned.zonectl(&["image", "import", &format!("tar:{}", tar.display())]).code(2).says(&["without a name"]);
    zoned.zonectl(&["image", "import", &format!("tar:{}", tar.display()), "of-tar"]).ok();
    zoned.zonectl(&["image", "import", &format!("dir:{}", root.display()), "example.com/of-dir:1"]).ok();
    zoned.zonectl(&["image", "import", "dir:/nonexistent", "x"]).code(1);
    zoned.zonectl(&["image", "import", "image:of-tar", "x"]).code(2);
    zoned
        .zonectl(&["image", "import", &format!("dir:{}", root.display()), "UPPER"])
        .code(2)
        .says(&["no name for an image"]);
    let shown = zoned.zonectl(&["image", "show", "of-tar"]).ok();
    assert!(shown.contains("x86_64") && shown.contains("zonectl image import tar:"), "{shown}");
    for image in ["of-tar", "example.com/of-dir:1"] {
        zoned.zonectl(&["create", "z"]).ok();
        zoned.zonectl(&["install", "z", &format!("image:{image}")]).ok();
        zoned.zonectl(&["boot", "z"]).ok();
        assert_eq!(zoned.sh("z", "hostname; readlink /bin/sh"), "z\n/bin/busybox\n");
        zoned.forget("z");
    }
}

#[test]
fn where_ids_are_not_mapped_the_layers_are_put_together() {
    let env = vec![("ZONED_GIVE_FILES".to_owned(), "1".to_owned())];
    let zoned = Zoned::start_as(How { env, ..How::default() });
    let layout = layout(zoned.scratch());
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["install", "z", &format!("oci:{}:12", layout.display())]).ok();
    assert!(zoned.root().join("zones/z/root/etc/new").is_file());
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let said = zoned
        .sh("z", "cat /etc/new /opt/app/data /opt/linked; ls /etc/gone /var/cache; stat -c %u /opt/last");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["newnewtheirs/var/cache:", "new", "65534"]);
}
