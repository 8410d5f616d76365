//! uname(2) and its two elders of i386.

use nix::errno::Errno;

use crate::call::{Answered, Call, Reply};
use crate::level::Level;
use crate::platform::is_linux32;
use crate::task::{Differs, Task};

/// Fills `struct new_utsname`: six fields of 65 bytes. See uname(2) for its history.
pub(super) fn uname(task: &mut dyn Task, call: &Call) -> Answered {
    let fields = Fields::of(task)?;
    let mut out = vec![0; 6 * 65];
    for (slot, text) in out.chunks_exact_mut(65).zip(fields.texts()) {
        put(slot, text);
    }
    task.write(call.ptr(0), &out)?;
    Ok(Reply::Value(0))
}

/// Fills `struct old_utsname`: the same without `domainname`. i386 only.
pub(super) fn olduname(task: &mut dyn Task, call: &Call) -> Answered {
    old(task, call, 65)
}

/// Fills `struct oldold_utsname`: five fields of nine bytes, eight letters and a NUL. i386 only.
pub(super) fn oldolduname(task: &mut dyn Task, call: &Call) -> Answered {
    old(task, call, 9)
}

fn old(task: &mut dyn Task, call: &Call, width: usize) -> Answered {
    let fields = Fields::of(task)?;
    let mut out = vec![0; 5 * width];
    for (slot, text) in out.chunks_exact_mut(width).zip(fields.texts()) {
        put(slot, text);
    }
    task.write(call.ptr(0), &out)?;
    Ok(Reply::Value(0))
}

/// A call that brings its caller into another UTS namespace, or makes one for a child.
pub(super) fn other_names(task: &mut dyn Task, _: &Call) -> Answered {
    task.may_differ(Differs::Names);
    Ok(Reply::Continue)
}

/// sethostname(2) and setdomainname(2): in a namespace that clone3(2) made, which nobody saw.
pub(super) fn sets_names(task: &mut dyn Task, _: &Call) -> Answered {
    if !task.in_zones_names()? {
        task.may_differ(Differs::Names);
    }
    Ok(Reply::Continue)
}

/// personality(2) of a caller that is free to choose.
pub(super) fn other_personality(task: &mut dyn Task, _: &Call) -> Answered {
    task.may_differ(Differs::Personality);
    Ok(Reply::Continue)
}

/// Cuts `text` so that a NUL follows it.
fn put(slot: &mut [u8], text: &[u8]) {
    let len = text.len().min(slot.len() - 1);
    slot[..len].copy_from_slice(&text[..len]);
}

/// Of personality(2), since Linux 3.1: `setarch --uname-2.6`.
const UNAME26: u32 = 0x002_0000;

/// A release as who asked for UNAME26 sees it, where the level is younger than that series (override_release of
/// kernel/sys.c): `3.10.0-1160.el7` as `2.6.50-1160.el7`, 4.18 as `2.6.78`.
fn as_2_6(level: Level, release: &str) -> Option<String> {
    let [major, minor, _] = level.numbers();
    let minor = match major {
        0..=2 => return None,
        3 => minor + 40,
        _ => minor + 60,
    };
    let mut dots = 0;
    let rest = release.find(|c: char| {
        dots += usize::from(c == '.');
        dots == 3 || c != '.' && !c.is_ascii_digit()
    });
    Some(format!("2.6.{minor}{}", rest.map_or("", |rest| &release[rest..])))
}

struct Fields {
    nodename: Vec<u8>,
    release: String,
    version: String,
    machine: String,
    domainname: Vec<u8>,
}

impl Fields {
    fn of(task: &mut dyn Task) -> Result<Self, Errno> {
        let (nodename, domainname) = task.names()?;
        let personality = task.personality()?;
        let linux32 = is_linux32(personality);
        let world = task.world();
        let release = world.level.filter(|_| personality & UNAME26 != 0);
        let release = release.and_then(|level| as_2_6(level, &world.release));
        let machine = if linux32 { &world.machine32 } else { &world.machine };
        Ok(Self {
            nodename,
            release: release.unwrap_or_else(|| world.release.clone()),
            version: world.version.clone(),
            machine: machine.clone(),
            domainname,
        })
    }

    fn texts(&self) -> [&[u8]; 6] {
        [
            b"Linux",
            &self.nodename,
            self.release.as_bytes(),
            self.version.as_bytes(),
            self.machine.as_bytes(),
            &self.domainname,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::engine::Compiled;
    use crate::fake::{Fake, call};
    use crate::platform::PER_LINUX32;

    const AT: u64 = 0x5000;

    fn fake(level: &str, arch: Option<&str>) -> Fake {
        let mut fake = Fake::linux(Some(level), arch);
        fake.map(AT, 4096);
        fake.put(AT, &[0xee; 600]);
        fake
    }

    /// The fields of a structure, and the byte behind it.
    fn fields(fake: &Fake, count: usize, width: usize) -> (Vec<String>, u8) {
        let raw = fake.get(AT, count * width + 1);
        let text = |field: &[u8]| {
            let end = field.iter().position(|&b| b == 0).expect("a field without NUL");
            assert!(field[end..].iter().all(|&b| b == 0));
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        (raw[..count * width].chunks(width).map(text).collect(), raw[count * width])
    }

    #[test]
    fn the_story_of_a_level() {
        let mut fake = fake("2.6.32-754.el6.x86_64", None);
        uname(&mut fake, &call(Abi::X86_64, "uname", &[AT])).unwrap();
        let (fields, behind) = fields(&fake, 6, 65);
        let version = "#1 SMP Thu Dec  3 00:00:00 UTC 2009";
        assert_eq!(fields, ["Linux", "guest", "2.6.32-754.el6.x86_64", version, "x86_64", "(none)"]);
        assert_eq!(behind, 0xee);
    }

    #[test]
    fn what_may_differ_is_told_before_it_does() {
        let told = |name: &str, abi: Abi, args: &[u64], renamed: bool| {
            let mut task = fake("5.10", None);
            task.renamed = renamed;
            let compiled = Compiled::new(&crate::linux::LINUX, &task.world).unwrap();
            let call = call(abi, name, args);
            if compiled.row(&call).is_some() {
                assert_eq!(compiled.answer(&mut task, &call), Ok(Reply::Continue), "{name}");
            }
            task.differs
        };
        for abi in Abi::ALL {
            for (name, args) in
                [("unshare", &[0x0400_0000][..]), ("clone", &[0x0400_0011]), ("setns", &[3, 0])]
            {
                assert_eq!(told(name, abi, args, false), [Differs::Names], "{name}");
            }
            assert_eq!(told("setns", abi, &[3, 0x2000_0000], false), []);
            assert_eq!(told("clone", abi, &[0x0001_0011], false), []);
            for name in ["sethostname", "setdomainname"] {
                assert_eq!(told(name, abi, &[0x5000, 3], false), []);
                assert_eq!(told(name, abi, &[0x5000, 3], true), [Differs::Names]);
            }
        }
        // Who has no clone3 makes none that is not seen.
        let mut task = fake("2.6.18", None);
        let compiled = Compiled::new(&crate::linux::LINUX, &task.world).unwrap();
        for abi in Abi::ALL {
            let clone3 = call(abi, "clone3", &[AT, 88]);
            assert_eq!(compiled.fixed(&clone3), None, "our own code may mean it");
            assert_eq!(compiled.answer(&mut task, &clone3), Err(Errno::ENOSYS));
            assert!(compiled.row(&call(abi, "sethostname", &[AT, 3])).is_none());
        }
        assert_eq!(told("personality", Abi::X86_64, &[8], false), [Differs::Personality]);
        assert_eq!(told("personality", Abi::X86_64, &[0xffff_ffff], false), []);
    }

    #[test]
    fn machine_is_by_personality() {
        let machine = |arch, personality| {
            let mut fake = fake("2.6.18", arch);
            fake.personality = personality;
            uname(&mut fake, &call(Abi::I386, "uname", &[AT])).unwrap();
            fields(&fake, 6, 65).0[4].clone()
        };
        assert_eq!(machine(None, 0), "x86_64");
        assert_eq!(machine(None, PER_LINUX32 | 0x4_0000), "i686");
        assert_eq!(machine(Some("i586"), PER_LINUX32), "i586");
        assert_eq!(machine(Some("i586"), 0), "i586");
    }

    #[test]
    fn uname26_tells_a_release_of_that_series() {
        for (level, want) in [
            ("3.10.0-1160.el7.x86_64", "2.6.50-1160.el7.x86_64"),
            ("4.18", "2.6.78"),
            ("5.4.0-26-generic", "2.6.64-26-generic"),
            ("3.0.101-63-default", "2.6.40-63-default"),
            ("2.6.18", "2.6.18"),
        ] {
            let mut fake = fake(level, None);
            fake.personality = UNAME26;
            uname(&mut fake, &call(Abi::X86_64, "uname", &[AT])).unwrap();
            assert_eq!(fields(&fake, 6, 65).0[2], want);
        }
    }

    #[test]
    fn the_elders() {
        let mut fake = fake("2.0.36", Some("i486"));
        olduname(&mut fake, &call(Abi::I386, "olduname", &[AT])).unwrap();
        let (five, behind) = fields(&fake, 5, 65);
        assert_eq!(five[2..5], ["2.0.36", "#1 Sun Nov 15 00:00:00 UTC 1998", "i486"]);
        assert_eq!(behind, 0xee);
        fake.put(AT, &[0xee; 600]);
        oldolduname(&mut fake, &call(Abi::I386, "oldolduname", &[AT])).unwrap();
        let (five, behind) = fields(&fake, 5, 9);
        assert_eq!(five, ["Linux", "guest", "2.0.36", "#1 Sun N", "i486"]);
        assert_eq!(behind, 0xee);
    }

    #[test]
    fn bad_pointers_and_long_names() {
        let mut fake = fake("2.6.18", None);
        for at in [0, AT + 4096 - 100] {
            let reply = uname(&mut fake, &call(Abi::X86_64, "uname", &[at]));
            assert_eq!(reply, Err(Errno::EFAULT));
        }
        fake.names.0 = vec![b'n'; 200];
        uname(&mut fake, &call(Abi::X86_64, "uname", &[AT])).unwrap();
        assert_eq!(fields(&fake, 6, 65).0[1], "n".repeat(64));
    }
}
