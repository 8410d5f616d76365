//! send and receive between two zoneds, whole and by what changed, and what is broken on its way.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use zones_tests::{Dice, Zoned, busybox_root, pack, shares_layers};

fn running(zoned: &Zoned, name: &str) {
    zoned.zonectl(&["create", name, "max-processes=88"]).ok();
    zoned.zonectl(&["install", name, &format!("dir:{}", busybox_root().display())]).ok();
    zoned.zonectl(&["boot", name, "-i", "none"]).ok();
}

/// The stream that these words of `send` write.
fn sent(zoned: &Zoned, words: &[&str]) -> PathBuf {
    let path = zoned.scratch().join(format!("{}.zone", words.join("-").replace(['@', '/'], "_")));
    let mut command = zoned.command(&[&["send"], words].concat());
    let status = command.stdout(File::create(&path).expect("make a file")).status().expect("run zonectl");
    assert!(status.success(), "send {words:?}");
    path
}

/// Halts a zone that this kernel cannot snapshot while it runs.
fn settle(zoned: &Zoned, name: &str) {
    if !shares_layers() {
        zoned.zonectl(&["halt", name]).ok();
    }
}

/// Exit code and complaint of `receive`.
fn receive(zoned: &Zoned, words: &[&str], stream: &Path) -> (Option<i32>, String) {
    let mut command = zoned.command(&[&["receive"], words].concat());
    command.stdin(File::open(stream).expect("open the stream")).stdout(Stdio::null()).stderr(Stdio::piped());
    let out = command.output().expect("run zonectl");
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn received(zoned: &Zoned, words: &[&str], stream: &Path) {
    let (code, said) = receive(zoned, words, stream);
    assert_eq!(code, Some(0), "{words:?}: {said}");
}

const LIST: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run \\) -prune -o \
                    -exec stat -c '%n %F %a %u:%g %s %Y' {} + | sort; find /data -type f -exec md5sum {} +";

/// Fails with the lines that only one has.
fn same(found: &str, wanted: &str) {
    let (found, wanted): (BTreeSet<&str>, BTreeSet<&str>) =
        (found.lines().collect(), wanted.lines().collect());
    let differ: Vec<_> = found.symmetric_difference(&wanted).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn a_zone_goes_to_another_host_and_follows() {
    let (here, there) = (Zoned::start(), Zoned::start());
    running(&here, "z");
    here.sh(
        "z",
        "mkdir -p /data/a/b; echo one > /data/a/file; chmod 4755 /data/a/file; chown 33:44 /data/a; ln /data/a/file \
         /data/hard; ln -s nowhere /data/link; mkfifo /data/fifo; rm /bin/vi; rm -rf /media; \
         dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=10M 2>/dev/null",
    );
    here.snapshot("z", "monday");
    let monday = here.sh("z", LIST);
    here.sh("z", "echo two > /data/a/file; rm -rf /data/a/b; mkdir /data/new; echo new > /data/new/file");
    here.zonectl(&["halt", "z"]).ok();
    here.zonectl(&["snapshot", "z@tuesday"]).ok();
    here.zonectl(&["boot", "z", "-i", "none"]).ok();
    let tuesday = here.sh("z", LIST);

    received(&there, &["z"], &sent(&here, &["z@monday"]));
    assert_eq!(there.zonectl(&["get", "z", "max-processes"]).ok(), "88\n");
    let change = sent(&here, &["z@tuesday", "--base", "monday"]);
    let whole = sent(&here, &["z@tuesday"]);
    received(&there, &["z"], &change);
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    same(&there.sh("z", LIST), &tuesday);
    there.zonectl(&["rollback", "z@monday"]).ok();
    same(&there.sh("z", LIST), &monday);
    received(&there, &["whole"], &whole);
    there.zonectl(&["boot", "whole", "-i", "none"]).ok();
    same(&there.sh("whole", LIST), &tuesday);

    // One that runs, as it is now.
    here.sh("z", "echo three > /data/a/file");
    settle(&here, "z");
    received(&there, &["now"], &sent(&here, &["z"]));
    there.zonectl(&["boot", "now", "-i", "none"]).ok();
    assert_eq!(there.sh("now", "cat /data/a/file"), "three\n");
}

#[test]
fn streams_that_do_not_fit_are_refused_and_change_nothing() {
    let (here, there) = (Zoned::start(), Zoned::start());
    running(&here, "z");
    here.snapshot("z", "a");
    here.sh("z", "echo b > /b");
    here.snapshot("z", "b");
    let (whole, change) = (sent(&here, &["z@a"]), sent(&here, &["z@b", "--base", "a"]));
    let refused = |words: &[&str], stream: &Path, code: i32, why: &str| {
        let (status, said) = receive(&there, words, stream);
        assert!(status == Some(code) && said.contains(why), "{words:?}: {status:?} {said}");
    };
    refused(&["z"], &change, 3, "there is no zone z");
    received(&there, &["z"], &whole);
    refused(&["z"], &whole, 4, "it has a snapshot a already");
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    refused(&["z"], &change, 4, "halt it first");
    there.sh("z", "echo mine > /mine");
    there.zonectl(&["halt", "z"]).ok();
    refused(&["z"], &change, 4, "it was changed since a");
    received(&there, &["z", "-F"], &change);
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(there.sh("z", "cat /b; ls /mine 2>&1 | grep -c 'No such'"), "b\n1\n");
    here.zonectl(&["send", "z@none"]).code(1).says(&["no snapshot none"]);
    here.zonectl(&["send", "z", "--base", "a"]).code(2);
    here.zonectl(&["send", "none"]).code(3);
    let rubbish = there.scratch().join("rubbish");
    fs::write(&rubbish, "PK\x03\x04 and so on, and so on").expect("write a file");
    refused(&["new"], &rubbish, 1, "no stream of a zone");
    assert!(there.zone("new").is_none());
}

#[test]
fn what_is_cut_off_or_changed_on_its_way_leaves_nothing() {
    let (here, there) = (Zoned::start(), Zoned::start());
    running(&here, "z");
    here.snapshot("z", "a");
    let stream = fs::read(sent(&here, &["z@a"])).expect("read the stream");
    let store = || fs::read_dir(there.root().join("layers")).expect("the store").count();
    let mut dice = Dice::new();
    for round in 0..40 {
        let mut broken = stream.clone();
        let at = dice.below(stream.len() as u64) as usize;
        if round % 2 == 0 {
            broken.truncate(at);
        } else {
            broken[at] ^= 1 << dice.below(8);
        }
        let path = there.scratch().join("broken");
        fs::write(&path, &broken).expect("write a file");
        let (code, said) = receive(&there, &["z"], &path);
        assert!(code.is_some_and(|code| code != 0), "byte {at} of {}: {said}", stream.len());
        assert!(there.zone("z").is_none(), "{said}");
    }
    // Layers that came whole before the break are nobody's, and go with the next sweep at the latest.
    let mut command = there.command(&["receive", "z"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("run zonectl");
    child.stdin.take().expect("a pipe").write_all(&stream).expect("write the stream");
    assert!(child.wait().expect("wait").success());
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    there.zonectl(&["delete", "z", "-F"]).ok();
    assert_eq!(store(), 0);
    assert_eq!(fs::read_dir(there.root().join("images/tmp")).expect("the store").count(), 0);
}

#[test]
fn layers_of_images_go_as_the_archives_that_they_are_named_by() {
    let (here, there) = (Zoned::start(), Zoned::start());
    let tar = here.scratch().join("root.tar");
    pack(&busybox_root(), &tar);
    here.zonectl(&["image", "import", &format!("tar:{}", tar.display()), "busybox:1"]).ok();
    here.zonectl(&["create", "z"]).ok();
    here.zonectl(&["install", "z", "image:busybox:1"]).ok();
    here.zonectl(&["boot", "z", "-i", "none"]).ok();
    here.sh("z", "echo mine > /mine; rm /bin/vi");
    settle(&here, "z");
    let stream = sent(&here, &["z"]);
    received(&there, &["z"], &stream);
    there.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(there.sh("z", "cat /mine; [ -e /bin/vi ] || echo gone"), "mine\ngone\n");
    // It can be proven by its name there as well, where kernels can share it.
    let verified = there.zonectl(&["--json", "image", "verify"]).ok();
    let verified: serde_json::Value = serde_json::from_str(&verified).expect("JSON");
    assert_eq!(
        (&verified["layers"], verified["damage"].as_array().map(Vec::len)),
        (&u8::from(shares_layers()).into(), Some(0)),
        "{verified}"
    );
}
