//! An image that buildah made becomes a zone, the zone an image, and that image podman's and umoci's again: with every file as it
//! is in a tree that the same was done to by hand. Those who compare are mtree(8) and getfattr(1).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use zones_tests::{Lab, Zoned, busybox_root, peers, text};

fn is_missing(test: &str) -> bool {
    zones_tests::is_missing(
        test,
        &["buildah", "podman", "skopeo", "umoci", "mtree", "getfattr", "setfattr", "setcap"],
    )
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn shell(folder: &Path, script: &str) {
    run(Command::new("sh").args(["-eu", "-c", script]).current_dir(folder).env("LC_ALL", "C.UTF-8"));
}

/// podman or buildah with images of its own below `store`.
fn with_store(program: &str, store: &Path, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(["--storage-driver", "vfs", "--root"]).arg(store.join("root"));
    run(command.arg("--runroot").arg(store.join("run")).args(words))
}

/// What a shell of an image says that podman runs.
fn run_by_podman(store: &Path, image: &str, script: &str) -> String {
    let (root, state) = (store.join("root"), store.join("run"));
    let front = ["podman", "--storage-driver", "vfs", "--root", text(&root), "--runroot", text(&state)];
    let back = ["run", "--rm"];
    let words = [&front, &back[..], &peers::PODMAN, &[image, "sh", "-c", script]].concat();
    run(&mut peers::suited(store, &words))
}

/// A root with Debian's busybox, setcap and setfattr.
fn debian_root(at: &Path) {
    run(Command::new("cp").arg("-a").arg(busybox_root()).arg(at));
    let script = r#"for tool in setcap setfattr; do
            path=$(PATH=$PATH:/sbin:/usr/sbin command -v $tool) && cp "$path" bin/
            for lib in $(ldd "$path" | grep -o '/[^ ]*'); do mkdir -p ".${lib%/*}" && cp -L "$lib" ".$lib"; done
        done
        mkdir -p srv/old/deep var/cache opt/replaced
        echo one > srv/one; echo two > srv/two; echo pair > var/cache/pair; echo x > srv/old/deep/x; echo y > opt/replaced/y
        ln var/cache/pair var/cache/again; chown 1000:1000 srv/one; chmod 4755 bin/busybox"#;
    shell(at, script);
}

/// What is done in the zone, and by hand. A file of the image that has two names keeps them as long as nobody writes to it: an overlay
/// makes two of it then.
const CHANGES: &str = r#"echo new > srv/new; chown 33:44 srv/new; chmod 2640 srv/new
    rm srv/one; rm -r srv/old
    rm -r opt/replaced; mkdir opt/replaced; echo z > opt/replaced/z; chmod 711 opt/replaced
    cp bin/busybox bin/own; setcap cap_net_raw+ep bin/own
    ln srv/new srv/again; ln -s /nowhere/at/all srv/link; mkfifo -m 640 srv/fifo
    setfattr -n user.mine -v yes srv/new; setfattr -n user.mine -v folder opt/replaced
    echo more >> srv/two
    mkdir -p 'srv/ä b/c'; : > 'srv/ä b/c/empty'
    long=srv; for n in 1 2 3; do long=$long/$(printf %0100d $n); mkdir $long; done; echo deep > $long/file
    touch -h -d '2001-02-03 04:05:06' srv/link
    touch -h -d '2001-02-03 04:05:06' srv/* srv/*/* srv/*/*/* $long/file opt/replaced/z opt/replaced bin/own
    touch -h -d '2001-02-03 04:05:06' bin opt srv"#;

/// Files that each zone has its own of, and the folders that they are in, whose time goes with them.
const OWN: [&str; 7] =
    ["./etc/hosts", "./etc/resolv.conf", "./etc/hostname", "./dev", "./proc", "./sys", "./etc/.zones"];

/// What mtree(8) says of every file, and getfattr(1).
fn described(tree: &Path) -> Vec<String> {
    // The second makes a line a file of it.
    let script = "mtree -c -k $KEYS -p . | mtree -C -k $KEYS";
    let mut mtree = Command::new("sh");
    mtree.args(["-c", script]).env("KEYS", "type,mode,uid,gid,nlink,link,size,time,sha256").current_dir(tree);
    let said = run(&mut mtree);
    let mut fattr = Command::new("getfattr");
    fattr
        .args(["--dump", "--match=-", "--encoding=hex", "--recursive", "--physical", "--no-dereference", "."])
        .current_dir(tree);
    let mut lines = Vec::new();
    for line in said.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        if OWN.contains(&name) {
            continue;
        }
        // Folders' sizes and numbers of links are the file systems' own, and what was made in these two is the zone's.
        let is_folder = line.contains("type=dir");
        let is_own = name == "." || name == "./etc";
        let keeps = |word: &&str| {
            !(is_folder && (word.starts_with("nlink=") || word.starts_with("size=")))
                && !(is_own && word.starts_with("time="))
                // buildah's layers say nothing of the root itself, and podman and zoned take it for different.
                && !(name == "." && word.starts_with("mode="))
        };
        lines.push(line.split(' ').filter(keeps).collect::<Vec<_>>().join(" "));
    }
    lines.sort();
    let attributes = run(&mut fattr);
    let mut blocks: Vec<&str> = attributes.split("\n\n").collect();
    blocks.sort_unstable();
    lines.extend(blocks.into_iter().map(|block| block.trim().to_owned()));
    lines
}

fn same(what: &str, one: &[String], other: &[String]) {
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}

fn inspected(image: &str, words: &[&str]) -> Value {
    serde_json::from_str(&run(Command::new("skopeo").arg("inspect").args(words).arg(image))).expect("JSON")
}

/// The zone `web` from buildah's image `shop:1`, changed; the tree that it should be.
fn changed(zoned: &Zoned, store: &Path) -> PathBuf {
    let scratch = zoned.scratch();
    let root = scratch.join("debian");
    debian_root(&root);
    let buildah = |words: &[&str]| with_store("buildah", store, words);
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", &container, root.to_str().expect("UTF-8"), "/"]);
    let words = ["--cmd", r#"["busybox","sleep","100000"]"#, "--env", "PATH=/bin:/sbin", "--env", "A=1"];
    buildah(
        &[&["config"][..], &words, &["--label", "team=shop", "--workingdir", "/srv", &container]].concat(),
    );
    buildah(&["commit", &container, "shop:base"]);
    // A second layer, with what makes one of it.
    let container = buildah(&["from", "localhost/shop:base"]);
    let more = scratch.join("more");
    fs::create_dir(&more).expect("make a folder");
    fs::write(more.join("second"), "second").expect("write");
    buildah(&["copy", &container, more.to_str().expect("UTF-8"), "/opt"]);
    buildah(&["commit", &container, "shop:1"]);
    let file = scratch.join("shop.tar");
    with_store("podman", store, &["save", "-o", file.to_str().expect("UTF-8"), "localhost/shop:1"]);
    zoned.zonectl(&["image", "import", &format!("docker-archive:{}", file.display()), "shop:1"]).ok();
    zoned.zonectl(&["create", "web"]).ok();
    zoned.zonectl(&["install", "web", "image:shop:1"]).ok();
    zoned.zonectl(&["boot", "web"]).ok();
    zoned.zonectl(&["login", "web", "--", "/bin/sh", "-eu", "-c", &format!("cd / && {CHANGES}")]).ok();
    let mounted = with_store("podman", store, &["image", "mount", "localhost/shop:1"]);
    let want = scratch.join("want");
    run(Command::new("cp").arg("-a").arg(mounted).arg(&want));
    shell(&want, CHANGES);
    want
}

#[test]
fn an_image_makes_the_whole_trip() {
    if is_missing("an_image_makes_the_whole_trip") {
        return;
    }
    let lab = Lab::new();
    let zoned = lab.zoned();
    let (scratch, store) = (zoned.scratch(), zoned.scratch().join("store"));
    let want = described(&changed(&zoned, &store));
    // While it runs, and when it does not: both are the same layer.
    zoned.zonectl(&["commit", "web", "shop:running"]).ok();
    zoned.zonectl(&["halt", "web"]).ok();
    for edit in ["env=[\"A=2\"]", "workdir=/opt"] {
        zoned.zonectl(&["set", "web", edit]).ok();
    }
    zoned.zonectl(&["commit", "web", "shop:2", "-m", "a new theme"]).ok();
    let show = |name: &str| -> Value {
        let said = zoned.zonectl(&["--json", "image", "show", name]).ok();
        let mut details: Value = serde_json::from_str(&said).expect("JSON");
        if let Some(layers) = details["image"].get("layers").cloned() {
            details["layers"] = layers;
        }
        details
    };
    let (running, two, one) = (show("shop:running"), show("shop:2"), show("shop:1"));
    assert_eq!(running["layers"], two["layers"]);
    assert_eq!(two["layers"].as_array().expect("a list")[..2], one["layers"].as_array().expect("a list")[..]);
    assert_eq!(two["layers"].as_array().expect("a list").len(), 3);
    assert_eq!((&running["env"], &running["cmd"]), (&one["env"], &one["cmd"]));
    assert_eq!((&two["cmd"], &two["env"][0]), (&one["cmd"], &Value::from("A=2")));
    assert_eq!((&two["workdir"], &two["labels"]["team"]), (&Value::from("/opt"), &Value::from("shop")));
    assert!(
        two["history"].as_array().expect("a list").last().expect("a step")["by"]
            == "zonectl commit web shop:2"
    );

    // To podman, by way of docker's format.
    let file = |name: &str| scratch.join(name).display().to_string();
    zoned.zonectl(&["image", "export", "shop:2", &format!("docker-archive:{}", file("d.tar"))]).ok();
    let loaded = with_store("podman", &store, &["load", "-i", &file("d.tar")]);
    assert!(loaded.contains("shop:2"), "{loaded}");
    let mounted = with_store("podman", &store, &["image", "mount", "localhost/shop:2"]);
    same("podman", &described(Path::new(&mounted)), &want);
    let said = with_store("podman", &store, &["image", "inspect", "localhost/shop:2"]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said[0]["RootFS"]["Layers"], two["layers"]);
    assert_eq!(said[0]["Config"]["WorkingDir"], "/opt");
    let told = run_by_podman(
        &store,
        "localhost/shop:2",
        "pwd; echo $A; cat /srv/new /srv/two; stat -c '%u %a' /srv/new",
    );
    assert_eq!(told, "/opt\n2\nnew\ntwo\nmore\n33 2640");
    // And by way of OCI's, in every packing.
    for packing in ["gzip", "zstd", "none"] {
        let archive = file(&format!("{packing}.tar"));
        let words = [
            "image",
            "export",
            "shop:2",
            &format!("oci-archive:{archive}:shop:{packing}"),
            "--compression",
            packing,
        ];
        zoned.zonectl(&words).ok();
        let config = inspected(&format!("oci-archive:{archive}"), &["--config"]);
        assert_eq!(config["rootfs"]["diff_ids"], two["layers"], "{packing}");
        let found = inspected(&format!("oci-archive:{archive}"), &[]);
        assert_eq!(found["Layers"] == two["layers"], packing == "none");
        // What goes out can come in again, and is the same image.
        zoned.zonectl(&["image", "import", &format!("oci-archive:{archive}"), "again:1"]).ok();
        assert_eq!(show("again:1")["layers"], two["layers"]);
    }
    // A folder of images, for umoci, which unpacks it by itself.
    for name in ["shop:1", "shop:2"] {
        zoned.zonectl(&["image", "export", name, &format!("oci:{}", file("layout"))]).ok();
    }
    let listed = run(Command::new("umoci").args(["ls", "--layout", &file("layout")]));
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["1", "2"]);
    run(Command::new("umoci").args([
        "unpack",
        "--image",
        &format!("{}:2", file("layout")),
        &file("unpacked"),
    ]));
    same("umoci", &described(&scratch.join("unpacked/rootfs")), &want);
    assert!(
        fs::read_dir(scratch)
            .expect("a folder")
            .flatten()
            .all(|e| !e.file_name().to_string_lossy().contains(".new-"))
    );
}

#[test]
fn an_image_whose_layers_are_packed_in_pieces_comes_in() {
    if is_missing("an_image_whose_layers_are_packed_in_pieces_comes_in") {
        return;
    }
    let zoned = Zoned::start();
    let store = zoned.scratch().join("store");
    let buildah = |words: &[&str]| with_store("buildah", &store, words);
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", "-q", &container, busybox_root().to_str().expect("UTF-8"), "/"]);
    buildah(&["commit", "-q", "--format", "oci", &container, "app"]);
    for packed in ["zstd:chunked", "zstd", "gzip"] {
        let name = packed.replace(':', "-");
        let layout = zoned.scratch().join(&name);
        let to = format!("oci:{}:1", layout.display());
        buildah(&["push", "-q", "--compression-format", packed, "app", &to]);
        zoned.zonectl(&["image", "import", &to, &name]).ok();
        let image = format!("image:{name}");
        let busybox = fs::read(busybox_root().join("bin/busybox")).expect("it is there").len();
        let ran = zoned.zonectl(&["run", "--root", &image, "--", "/bin/busybox", "wc", "-c", "/bin/busybox"]);
        assert_eq!(ran.ok(), format!("{busybox} /bin/busybox\n"), "{packed}");
    }
    // How far it is is told where no bar can be shown, too.
    let verified = zoned.zonectl(&["image", "verify"]);
    assert!(verified.stderr.contains("images: reading layers"), "{verified}");
    assert!(verified.ok().ends_with("0 damaged\n"));
}

#[test]
fn a_zone_that_came_of_no_image_becomes_one() {
    let lab = Lab::new();
    let zoned = lab.zoned();
    let from = format!("dir:{}", busybox_root().display());
    zoned.zonectl(&["create", "old"]).ok();
    zoned.zonectl(&["install", "old", &from]).ok();
    zoned.zonectl(&["snapshot", "old@first"]).ok();
    zoned.zonectl(&["boot", "old", "-i", "none"]).ok();
    zoned.zonectl(&["login", "old", "--", "/bin/sh", "-c", "echo two > /root/two"]).ok();
    zoned.zonectl(&["commit", "old@first", "made:1"]).ok();
    zoned.zonectl(&["commit", "old", "made:2"]).ok();
    let images: Value =
        serde_json::from_str(&zoned.zonectl(&["--json", "image", "list"]).ok()).expect("JSON");
    let layers = |at: usize| images[at]["layers"].as_array().expect("a list").clone();
    assert_eq!((layers(0).len(), layers(1).len()), (1, 2));
    assert_eq!(layers(0)[0], layers(1)[0]);
    for (zone, image, said) in [("a", "made:1", ""), ("b", "made:2", "two\n")] {
        zoned.zonectl(&["create", zone]).ok();
        zoned.zonectl(&["install", zone, &format!("image:{image}")]).ok();
        zoned.zonectl(&["boot", zone, "-i", "none"]).ok();
        let words = ["login", zone, "--", "/bin/sh", "-c", "cat /root/two 2>/dev/null || :"];
        assert_eq!(zoned.zonectl(&words).ok(), said);
    }
    // A folder is a layer as well.
    zoned.zonectl(&["image", "import", &from, "made:dir"]).ok();
    zoned.zonectl(&["create", "c"]).ok();
    zoned.zonectl(&["install", "c", "image:made:dir"]).ok();
    zoned.zonectl(&["boot", "c"]).ok();
    // Names that are none, and zones that have nothing.
    zoned.zonectl(&["commit", "old", "No Name"]).code(2);
    zoned.zonectl(&["commit", "none", "x"]).code(3);
    zoned.zonectl(&["commit", "old@none", "x"]).code(1);
    zoned.zonectl(&["create", "bare"]).ok();
    zoned.zonectl(&["commit", "bare", "x"]).code(4);
    zoned.zonectl(&["image", "export", "none", "oci-archive:/tmp/none.tar"]).code(1);
    zoned.zonectl(&["image", "export", "made:1", "tar:/tmp/none.tar"]).code(2);
}
