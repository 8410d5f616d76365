//! What makes no sense is refused with a sentence that names it, and an exit code; nothing is half done.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use zones_tests::{How, Zoned, busybox_root, elf_for_another_machine, eventually, pack};

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let zoned = Zoned::start();
    for (words, sentence) in [
        (&["create", "a", "hostnme=x"][..], &["hostnme", "hostname"][..]),
        (&["create", "a", "kernle=2.6.18"], &["kernle", "kernel"]),
        (&["create", "-a"], &[]),
        (&["create", "a/b"], &["a/b"]),
        (&["create", ".."], &[".."]),
        (&["create", "global"], &["global"]),
        (&["create", ""], &[]),
        (&["create", "a b"], &["a b"]),
        (&["create", "a", "--brand", "lnux"], &["lnux", "linux"]),
        (&["create", "a", "kernel=2.6.99"], &["2.6.99"]),
        (&["create", "a", "kernel=banana"], &["banana"]),
        (&["create", "a", "kernel="], &["kernel"]),
        (&["create", "a", "strict=perhaps"], &["perhaps"]),
        (&["create", "a", "hostid=0x123456789"], &["hostid"]),
        (&["create", "a", "max-processes=-1"], &["max-processes"]),
        (&["create", "a", "capped-cpu.ncpus=0"], &["ncpus"]),
        (&["create", "a", "capped-memory.physical=12Q"], &["12Q"]),
        (&["create", "a", "init=relative/init"], &["relative/init"]),
        (&["create", "a", "limit-privileges=default,no_such_thing"], &["no_such_thing"]),
        (&["run", "--brand", "lnux", "--", "true"], &["lnux"]),
        (&["run", "--kernel", "2.6.99", "--", "true"], &["2.6.99"]),
        (&["no-such-command"], &[]),
    ] {
        let outcome = zoned.zonectl(words).code(2);
        // Usage is clap's to explain; sense is ours.
        for word in sentence {
            assert!(outcome.stderr.contains(word), "expected '{word}'\n{outcome}");
        }
    }
    let long = "x".repeat(65);
    zoned.zonectl(&["create", &long]).code(2).says(&["64"]);
    assert_eq!(
        fs::read_dir(zoned.zones()).expect("the folder is there").count(),
        0,
        "nothing was configured"
    );

    let file = zoned.scratch().join("a.toml");
    fs::write(&file, "name = \"a\"\nbrand = \"linux\"\nautobot = true\n").expect("write");
    let file = file.to_str().expect("text");
    zoned.zonectl(&["create", "a", "-f", file]).code(2).says(&["autobot", "autoboot", "3"]);
    zoned.zonectl(&["create", "a"]).ok();
    zoned.zonectl(&["create", "a"]).code(4).says(&["a"]);
    zoned.zonectl(&["set", "a", "hostnme=x"]).code(2).says(&["hostnme", "hostname"]);
    zoned.zonectl(&["install", "a", "nonsense:x"]).code(2).says(&["nonsense"]);
    for verb in ["boot", "ready", "halt", "reboot", "shutdown", "verify", "export", "get"] {
        zoned.zonectl(&[verb, "nobody"]).code(3).says(&["nobody"]);
    }
}

#[test]
fn a_configuration_edited_by_hand_is_refused_with_file_and_line() {
    let zoned = Zoned::start();
    zoned.install("a", &busybox(), &[]);
    let file = zoned.zones().join("a.toml");
    let good = fs::read_to_string(&file).expect("a zone has its file");
    fs::write(&file, format!("hostnme = \"x\"\n{good}")).expect("write");
    zoned.zonectl(&["boot", "a"]).code(2).says(&["a.toml", "hostnme", "hostname"]);
    fs::write(&file, "this is = = no toml").expect("write");
    zoned.zonectl(&["boot", "a"]).code(2).says(&["a.toml"]);
    fs::write(&file, good).expect("write");
    zoned.zonectl(&["boot", "a"]).ok();
}

fn busybox() -> String {
    format!("dir:{}", busybox_root().display())
}

fn busybox_tar(zoned: &Zoned) -> PathBuf {
    let tar = zoned.scratch().join("good.tar");
    pack(&busybox_root(), &tar);
    tar
}

/// Installs an archive that must be refused with a sentence, and the good one afterwards.
fn is_refused(zoned: &Zoned, name: &str, tar: &Path, sentence: &[&str]) {
    zoned.zonectl(&["create", name]).ok();
    zoned.zonectl(&["install", name, &format!("tar:{}", tar.display())]).code(1).says(sentence);
    let state = zoned.state(name).expect("the zone is still configured");
    assert!(["configured", "incomplete"].contains(&state.as_str()), "{name} is {state}");
    if state == "incomplete" {
        zoned.zonectl(&["boot", name]).code(4).says(&["incomplete"]);
        zoned.zonectl(&["uninstall", name, "-F"]).ok();
    }
    zoned.zonectl(&["install", name, &busybox()]).ok();
}

#[test]
fn an_archive_that_is_cut_off_or_none_is_refused() {
    let zoned = Zoned::start();
    let whole = fs::read(busybox_tar(&zoned)).expect("read");
    let cut = zoned.scratch().join("cut.tar");
    fs::write(&cut, &whole[..whole.len() / 2]).expect("write");
    is_refused(&zoned, "cut", &cut, &["cut.tar"]);
    fs::write(&cut, b"this is no archive, and never was one; it only has the name".repeat(40))
        .expect("write");
    is_refused(&zoned, "none", &cut, &[]);
    fs::write(&cut, b"").expect("write");
    is_refused(&zoned, "empty", &cut, &[]);
    fs::write(&cut, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).expect("write");
    is_refused(&zoned, "gzip", &cut, &[]);
    zoned.zonectl(&["create", "absent"]).ok();
    let outcome = zoned.zonectl(&["install", "absent", "tar:/no/such.tar"]);
    assert!(matches!(outcome.status, Some(1 | 2)), "{outcome}");
    outcome.says(&["/no/such.tar"]);
}

/// An archive of one entry after the good ones.
fn tar_with(zoned: &Zoned, name: &str, add: impl FnOnce(&mut tar::Builder<File>)) -> PathBuf {
    let path = zoned.scratch().join(name);
    let mut builder = tar::Builder::new(File::create(&path).expect("create"));
    builder.follow_symlinks(false);
    builder.append_dir_all(".", busybox_root()).expect("append");
    add(&mut builder);
    builder.finish().expect("finish");
    path
}

/// A header whose name may be anything; the crate's own setter refuses `..`.
fn header(name: &str, kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

fn link(name: &str, kind: tar::EntryType, to: &str) -> tar::Header {
    let mut header = header(name, kind, 0);
    header.as_old_mut().linkname[..to.len()].copy_from_slice(to.as_bytes());
    header.set_cksum();
    header
}

#[test]
fn an_archive_cannot_write_outside_its_zone() {
    let zoned = Zoned::start();
    let outside = zoned.scratch().join("outside");
    fs::create_dir(&outside).expect("create");
    let victim = outside.join("victim");
    fs::write(&victim, "untouched").expect("write");

    let up = tar_with(&zoned, "up.tar", |b| {
        b.append(&header("../../../../outside/new", tar::EntryType::Regular, 3), &b"bad"[..])
            .expect("append");
    });
    is_refused(&zoned, "up", &up, &[".."]);

    // A link to the outside, and a file through it. A link alone is what roots are full of.
    let target = outside.to_str().expect("text").to_owned();
    let through = tar_with(&zoned, "through.tar", |b| {
        b.append(&link("door", tar::EntryType::Symlink, &target), &b""[..]).expect("append");
        b.append(&header("door/new", tar::EntryType::Regular, 3), &b"bad"[..]).expect("append");
        b.append(&header("door/victim", tar::EntryType::Regular, 3), &b"bad"[..]).expect("append");
    });
    zoned.zonectl(&["create", "through"]).ok();
    zoned.zonectl(&["install", "through", &format!("tar:{}", through.display())]);

    // A hard link to a file of the host.
    let victim_path = victim.to_str().expect("text").to_owned();
    let hard = tar_with(&zoned, "hard.tar", |b| {
        b.append(&link("copy", tar::EntryType::Link, &victim_path), &b""[..]).expect("append");
        b.append(&header("copy", tar::EntryType::Regular, 3), &b"bad"[..]).expect("append");
    });
    is_refused(&zoned, "hard", &hard, &["copy"]);

    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "untouched");
    assert_eq!(fs::read_dir(&outside).expect("it is there").count(), 1, "nothing was written outside");
}

#[test]
fn device_nodes_of_an_archive_open_nothing() {
    let zoned = Zoned::start();
    let tar = tar_with(&zoned, "nodes.tar", |b| {
        for (name, kind, major, minor) in
            [("mnt/mem", tar::EntryType::Char, 1, 1), ("mnt/disk", tar::EntryType::Block, 254, 0)]
        {
            let mut node = header(name, kind, 0);
            node.set_device_major(major).expect("gnu");
            node.set_device_minor(minor).expect("gnu");
            node.set_cksum();
            b.append(&node, &b""[..]).expect("append");
        }
    });
    // Real roots hold some (busybox, buildroot, tinycore): the archive is taken.
    zoned.install("z", &format!("tar:{}", tar.display()), &[]);
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    for node in ["/mnt/mem", "/mnt/disk"] {
        let outcome = zoned.zonectl(&["login", "z", "--", "head", "-c", "1", node]);
        assert_ne!(outcome.status, Some(0), "{node} opens\n{outcome}");
    }
}

#[test]
fn programs_for_another_machine_are_named_as_such() {
    let zoned = Zoned::start();
    let folder = zoned.scratch().join("alien");
    for dir in ["bin", "sbin", "etc", "dev", "proc", "sys", "tmp"] {
        fs::create_dir_all(folder.join(dir)).expect("create");
    }
    let shell = folder.join("bin/sh");
    fs::write(&shell, elf_for_another_machine()).expect("write");
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).expect("chmod");
    symlink("/bin/sh", folder.join("sbin/init")).expect("link");
    zoned.zonectl(&["create", "alien"]).ok();
    zoned.zonectl(&["install", "alien", &format!("dir:{}", folder.display())]).code(1).says(&["aarch64"]);

    // One among good ones is refused when it is called.
    let mixed = zoned.scratch().join("mixed.tar");
    let mut builder = tar::Builder::new(File::create(&mixed).expect("create"));
    builder.follow_symlinks(false);
    builder.append_dir_all(".", busybox_root()).expect("append");
    builder.append_path_with_name(&shell, "bin/alien").expect("append");
    builder.finish().expect("finish");
    zoned.install("mixed", &format!("tar:{}", mixed.display()), &[]);
    zoned.zonectl(&["boot", "mixed", "-i", "none"]).ok();
    zoned.zonectl(&["login", "mixed", "--", "/bin/alien"]).code(126).says(&["alien"]);
    zoned.zonectl(&["halt", "mixed"]).ok();
    zoned.zonectl(&["boot", "mixed", "-i", "/bin/alien"]).code(1).says(&["alien"]);
    assert_eq!(zoned.state("mixed").as_deref(), Some("installed"));
    zoned.zonectl(&["boot", "mixed", "-i", "/no/init"]).code(1).says(&["/no/init"]);
    assert_eq!(zoned.state("mixed").as_deref(), Some("installed"));

    // A root that has nothing to run, and one that lacks the wanted ABI.
    let empty = zoned.scratch().join("empty");
    fs::create_dir(&empty).expect("create");
    zoned.zonectl(&["create", "empty"]).ok();
    zoned.zonectl(&["install", "empty", &format!("dir:{}", empty.display())]).code(1).says(&["empty"]);
}

#[test]
fn a_full_disk_is_a_sentence_and_can_be_recovered_from() {
    let zoned = Zoned::start_as(How { small_disk: Some(8), ..How::default() });
    zoned.zonectl(&["create", "big"]).ok();
    let folder = zoned.scratch().join("big");
    fs::create_dir(&folder).expect("create");
    let mut file = File::create(folder.join("filler")).expect("create");
    (0..32).for_each(|_| file.write_all(&[7; 1 << 20]).expect("write"));
    zoned.zonectl(&["install", "big", &format!("dir:{}", folder.display())]).code(1).says(&["space"]);
    assert_eq!(zoned.state("big").as_deref(), Some("incomplete"));
    zoned.zonectl(&["uninstall", "big", "-F"]).ok();
    assert_eq!(zoned.state("big").as_deref(), Some("configured"));
    zoned.zonectl(&["install", "big", &busybox()]).ok();
}

#[test]
fn of_two_boots_at_once_one_wins() {
    let zoned = Zoned::start();
    zoned.install("z", &busybox(), &[]);
    for _ in 0..10 {
        let (one, two) = (zoned.spawn(&["boot", "z"]), zoned.spawn(&["boot", "z"]));
        let (one, two) = (one.finish(), two.finish());
        let (won, lost) = if one.status == Some(0) { (one, two) } else { (two, one) };
        won.code(0);
        lost.code(4).says(&["z"]);
        assert_eq!(zoned.state("z").as_deref(), Some("running"));
        zoned.zonectl(&["halt", "z"]).ok();
    }
}

#[test]
fn a_zone_being_installed_cannot_be_halted_booted_or_deleted() {
    let zoned = Zoned::start();
    zoned.zonectl(&["create", "z"]).ok();
    let archive = fs::read(busybox_tar(&zoned)).expect("read");
    let mut install = zoned.spawn(&["install", "z", "tar:-"]);
    install.send(&archive[..archive.len() / 2]);
    eventually("the install is under way", 10, || {
        zoned.zone("z").is_some_and(|z| z["busy"].as_str() == Some("install"))
    });
    for verb in [
        &["halt", "z"][..],
        &["boot", "z"],
        &["install", "z", "tar:-"],
        &["uninstall", "z", "-F"],
        &["delete", "z", "-F"],
    ] {
        zoned.zonectl(verb).code(4).says(&["z", "install"]);
    }
    sleep(Duration::from_millis(100));
    assert!(install.runs(), "the install goes on");
    install.send(&archive[archive.len() / 2..]);
    install.finish().ok();
    assert_eq!(zoned.state("z").as_deref(), Some("installed"));

    // The same again, and the client gives up half way.
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    let mut install = zoned.spawn(&["install", "z", "tar:-"]);
    install.send(&archive[..archive.len() / 2]);
    eventually("the install is under way", 10, || zoned.state("z").as_deref() == Some("incomplete"));
    install.finish().code(1).says(&["z"]);
    eventually("the install ended", 10, || zoned.zone("z").is_some_and(|z| z["busy"].is_null()));
    zoned.zonectl(&["uninstall", "z", "-F"]).ok();
    assert_eq!(zoned.state("z").as_deref(), Some("configured"));
}
