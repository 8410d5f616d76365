//! A zone's files on a kernel that cannot map their ids: they belong to the zone, which notices nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use zones_tests::{How, Zoned, busybox_root};

/// Makes zoned do as it must before Linux 5.19.
fn as_old() -> Vec<(String, String)> {
    vec![("ZONED_GIVE_FILES".to_owned(), "1".to_owned())]
}

/// What a guest sees of owners, modes and rights, and changes.
const SESSION: &str = r#"
stat -c '%u %g %a %n' /bin/busybox /root /tmp /etc/shadow /etc
echo mine > /root/new && chown 1000:1000 /root/new && chmod 4755 /root/new && stat -c '%u %g %a' /root/new
rm -r /mnt && mkdir /mnt && stat -c %u /mnt
su guest -c 'id -u; cat /etc/shadow; echo no > /etc/no; echo yes > /tmp/yes; stat -c %u /tmp/yes' 2>/dev/null
rm -r /root/new /tmp/yes
"#;

#[test]
fn a_zone_goes_to_and_fro_between_kernels_that_map_ids_and_such_as_do_not() {
    let mut zoned = Zoned::start();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), &[]);
    let root = zoned.root().join("zones/z/root");
    let su = root.join("bin/su.own");
    fs::copy(root.join("bin/busybox"), &su).unwrap();
    fs::set_permissions(&su, fs::Permissions::from_mode(0o4755)).unwrap();
    let session = |zoned: &Zoned| {
        zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
        let said = zoned.zonectl(&["login", "z", "--", "sh", "-c", SESSION]).stdout;
        zoned.zonectl(&["halt", "z"]).ok();
        zoned.wait_for("z", "installed");
        said
    };
    let mapped = session(&zoned);
    assert!(mapped.starts_with("0 0 755 /bin/busybox\n"), "{mapped}");
    assert_eq!(fs::metadata(&su).unwrap().uid(), 0);

    zoned.kill9();
    zoned.start_again_with(as_old());
    assert_eq!(session(&zoned), mapped);
    let given = fs::metadata(&su).unwrap();
    assert!(given.uid() >= 65536 && given.mode() & 0o7777 == 0o4755, "{given:?}");
    assert_eq!(session(&zoned), mapped);

    zoned.kill9();
    zoned.start_again_with(Vec::new());
    assert_eq!(session(&zoned), mapped);
    let back = fs::metadata(&su).unwrap();
    assert_eq!((back.uid(), back.mode() & 0o7777), (0, 0o4755));
    assert!(!zoned.root().join("zones/z/owners").exists());
}

#[test]
fn a_folder_is_run_in_and_stays_as_it_is() {
    let zoned = Zoned::start_as(How { env: as_old(), ..How::default() });
    let root = zoned.scratch().join("guest");
    let copied = std::process::Command::new("cp").arg("-a").arg(busybox_root()).arg(&root).status();
    assert!(copied.unwrap().success());
    fs::write(root.join("etc/of1000"), "text").unwrap();
    chown(root.join("etc/of1000"), Some(1000), Some(1000)).unwrap();
    let source = root.display().to_string();
    let script =
        "stat -c %u /etc/of1000; echo more >> /etc/of1000; cat /etc/of1000; rm /etc/shadow; stat -c %u /";
    let said = zoned.zonectl(&["run", "--root", &source, "--", "sh", "-c", script]).ok();
    assert_eq!(said, "1000\ntextmore\n0\n");
    let after = fs::metadata(root.join("etc/of1000")).unwrap();
    assert_eq!((after.uid(), fs::read_to_string(root.join("etc/of1000")).unwrap().as_str()), (1000, "text"));
    assert!(root.join("etc/shadow").exists());
}

#[test]
fn what_is_bound_read_only_cannot_be_written_whatever_the_zone_does() {
    let zoned = Zoned::start_as(How { env: as_old(), ..How::default() });
    let folder = zoned.scratch().join("shown");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.join("file"), "kept").unwrap();
    zoned.install("z", &format!("dir:{}", busybox_root().display()), &[]);
    let special = format!("special={}", folder.display());
    zoned.zonectl(&["add", "z", "fs", "dir=/ro", &special, "options=ro"]).ok();
    zoned.zonectl(&["add", "z", "fs", "dir=/rw", &special]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    let script = "cat /ro/file; touch /ro/a; mount -o remount,rw,bind /ro; mount -o remount,rw /ro; touch /ro/b; \
                  ls /ro; touch /rw/c";
    let said = zoned.zonectl(&["login", "z", "--", "sh", "-c", script]);
    assert_eq!(said.stdout, "keptfile\n", "{said}");
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["c", "file"]);
}
