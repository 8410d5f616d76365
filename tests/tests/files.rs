//! What programs of 32 bits are told of a file system whose numbers do not fit 32 bits.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use zones_tests::{Large, Zoned, program};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The files that programs/large_numbers.c expects.
fn fill(folder: &Path) {
    let known = folder.join("known");
    fs::write(&known, "known").expect("write");
    fs::set_permissions(&known, fs::Permissions::from_mode(0o640)).expect("set the mode");
    fs::hard_link(&known, folder.join("other")).expect("link");
    chown(&known, Some(7), Some(8)).expect("set the owner");
    symlink("known", folder.join("link")).expect("link");
    for i in 0..300 {
        File::create(folder.join(format!("n{i:03}"))).expect("create");
    }
    let closed = folder.join("closed");
    fs::create_dir(&closed).expect("create");
    File::create(closed.join("file")).expect("create");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("set the mode");
    chown(&closed, Some(9), Some(9)).expect("set the owner");
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(&known).and_then(|f| f.set_modified(then)).expect("set the time");
}

#[test]
fn a_file_system_of_large_numbers_is_told_in_32_bits() {
    let program = program("large_numbers", "i386", &[]).expect("compile");
    let zoned = Zoned::start();
    let large = Large::make(zoned.scratch());
    let folder = large.wide_folder();
    fill(&folder);
    let within = |words: &[&str], level: &str| {
        let binds = [
            format!("{}:/mnt", text(&folder)),
            format!("{}:/media", text(program.parent().expect("parent"))),
        ];
        let inside =
            format!("cd /mnt && exec /media/{} {level}", program.file_name().expect("name").display());
        let mut all = vec!["run", "--bind", &binds[0], "--bind", &binds[1]];
        all.extend(words);
        all.extend(["--", "sh", "-c", &inside]);
        zoned.zonectl(&all)
    };
    for level in ["2.0.36", "2.2.26", "2.4.20", "2.6.18", "3.10"] {
        within(&["--brand", "linux", "--kernel", level, "arch=i686"], level).ok();
    }
    within(&["--brand", "linux"], "host").ok();
    // Without a brand it is as the program's first lines say.
    let native = within(&["--brand", "native"], "host").code(1);
    for call in ["stat", "stat of a link", "lstat", "fstat", "oldstat", "getdents", "readdir", "statfs"] {
        let line = format!("FAIL: {call}, expected 0, got -75");
        assert!(native.stdout.lines().any(|l| l == line), "{line}\n{native}");
    }
}
