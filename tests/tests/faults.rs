//! What fails under zones: a file system of the host's that does not answer any more.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zones_tests::{Zoned, busybox_root, eventually, program, text};

fn server() -> PathBuf {
    program("hung", "amd64", &[]).expect("hung.c compiles")
}

#[test]
fn its_program_compiles() {
    assert!(server().is_file());
}

/// A file system whose server takes what it is asked, and answers nothing.
struct Hung {
    at: PathBuf,
    server: Child,
}

impl Hung {
    fn new(at: PathBuf) -> Self {
        fs::create_dir(&at).expect("make a folder");
        let mut command = Command::new(server());
        let server = command.arg(&at).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
            mounts.lines().any(|line| line.split(' ').nth(1) == Some(text(&at)))
        };
        eventually("that it is mounted", 10, is_mounted);
        Self { at, server }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let ended = self.server.wait().expect("wait");
        assert!(ended.success() || std::thread::panicking(), "{ended}");
    }
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_its_own_zone_alone() {
    let zoned = Zoned::start();
    let hung = Hung::new(zoned.scratch().join("hung"));
    let source = format!("dir:{}", busybox_root().display());
    for name in ["waits", "other"] {
        zoned.install(name, &source, &[]);
    }
    zoned.zonectl(&["add", "waits", "fs", "dir=/mnt", &format!("special={}", text(&hung.at))]).ok();
    let boot = zoned.spawn(&["boot", "waits", "-i", "none"]);
    let waits = || zoned.zonectl(&["list", "-c"]).ok().contains("boot under way");
    eventually("that the boot waits", 10, waits);
    zoned.zonectl(&["boot", "other", "-i", "none"]).ok();
    assert_eq!(zoned.sh("other", "echo here"), "here\n");
    assert!(waits(), "a file system that does not answer was mounted");
    // The kernel ends no process that waits for it; nobody else waits with that.
    let begun = Instant::now();
    let told = ["its monitor, process", "does not end", "a file system that does not answer", "/stack"];
    zoned.zonectl(&["halt", "waits"]).code(1).says(&told);
    boot.finish().code(1).says(&["boot waits", "it was halted"]);
    assert!(begun.elapsed() < Duration::from_secs(30), "it took {:?}", begun.elapsed());
    assert_eq!(zoned.state("waits").as_deref(), Some("installed"));
    zoned.zonectl(&["boot", "waits", "-i", "none"]).code(1).says(&told);
    assert_eq!(zoned.sh("other", "echo here"), "here\n");
    // Once it is gone all is as if it had never been.
    drop(hung);
    zoned.zonectl(&["remove", "waits", "fs", "dir=/mnt"]).ok();
    zoned.zonectl(&["boot", "waits", "-i", "none"]).ok();
    assert_eq!(zoned.sh("waits", "echo here"), "here\n");
    zoned.zonectl(&["halt", "waits"]).ok();
    zoned.zonectl(&["halt", "other"]).ok();
    // Its end counts what is left.
    drop(zoned);
}
