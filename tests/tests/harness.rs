//! The tools of the tests do what the tests believe of them.

use std::fs;
use std::process::Command;

use zones_tests::{Dice, Terminal, busybox_root, compile, elf_for_another_machine, pack, target};

#[test]
fn a_terminal_is_one_and_gives_the_status() {
    let mut command = Command::new("sh");
    command.args(["-c", "tty; stty size; read a; echo got-$a; exit 3"]);
    let mut terminal = Terminal::start(&command);
    terminal.expect("/dev/pts/", 5);
    terminal.expect("24 80", 5);
    terminal.send("word\n");
    assert_eq!(terminal.expect_any(&["nothing", "got-word"], 5), 1);
    assert_eq!(terminal.finish(5).code(), Some(3));
}

#[test]
#[should_panic(expected = "on the terminal within 1 s, seen:\nthis")]
fn a_terminal_tells_what_it_saw_instead() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo this; sleep 5"]);
    Terminal::start(&command).expect("that", 1);
}

#[test]
fn the_busybox_guest_runs_by_itself() {
    let root = busybox_root();
    let bwrap = |words: &[&str]| {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--ro-bind"]).arg(&root).args(["/", "--proc", "/proc"]);
        command.args(words).output().expect("bwrap is installed")
    };
    let output = bwrap(&["sh", "-c", "ls / && id -un && which init getty reboot poweroff ip stat"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("etc"), "{output:?}");
}

#[test]
fn a_packed_root_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let tar = folder.path().join("root.tar");
    pack(&busybox_root(), &tar);
    let list = Command::new("tar").arg("-tvf").arg(&tar).output().expect("tar runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("bin/sh -> /bin/busybox") && list.contains("etc/inittab"), "{list}");
}

#[test]
fn the_alien_program_is_one_to_others_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("alien");
    fs::write(&program, elf_for_another_machine()).expect("write");
    let told = Command::new("readelf").arg("-hl").arg(&program).output().expect("readelf runs");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("AArch64") && told.contains("EXEC") && told.contains("LOAD"), "{told}");
}

#[test]
fn a_program_is_compiled_once_and_again_when_its_text_changes() {
    let folder = tempfile::tempdir_in(target()).expect("a folder");
    let source = folder.path().join("harness_fixture.c");
    fs::write(&source, "int main(void) { return 3; }").expect("write");
    let first = compile(&source, "amd64", &[]).expect("gcc works");
    assert_eq!(first, compile(&source, "amd64", &[]).expect("gcc works"));
    assert_eq!(Command::new(&first).status().expect("it runs").code(), Some(3));
    fs::write(&source, "int main(void) { return 4; }").expect("write");
    let second = compile(&source, "amd64", &[]).expect("gcc works");
    assert_ne!(first, second);
    fs::write(&source, "int main(void) { return").expect("write");
    assert!(compile(&source, "i386", &[]).expect_err("it is no C").to_string().contains("harness_fixture.c"));
    for program in [first, second] {
        fs::remove_file(program).expect("remove");
    }
}

#[test]
fn dice_are_fair_enough() {
    let mut dice = Dice::new();
    let mut seen = [0; 4];
    (0..4000).for_each(|_| seen[dice.below(4) as usize] += 1);
    assert!(seen.iter().all(|n| *n > 500), "{seen:?}");
}
