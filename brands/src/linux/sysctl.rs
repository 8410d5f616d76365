//! _sysctl(2), which Linux lost in 5.5: the names that old libcs read.

use nix::errno::Errno;

use crate::abi::Abi;
use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::task::Task;

/// CTL_MAXNAME of linux/sysctl.h.
const MAX_NAME: i32 = 10;

/// Names of linux/sysctl.h. LinuxThreads reads KERN_VERSION to learn whether the machine is SMP.
const CTL_KERN: i32 = 1;
const KERN_OSTYPE: i32 = 1;
const KERN_OSRELEASE: i32 = 2;
const KERN_VERSION: i32 = 4;
const KERN_NODENAME: i32 = 7;
const KERN_DOMAINNAME: i32 = 8;

/// `struct __sysctl_args`, without the padding at its end.
struct Args {
    name: GuestPtr,
    nlen: i32,
    oldval: GuestPtr,
    oldlenp: GuestPtr,
    newval: GuestPtr,
}

/// Reads one of the kernel's strings.
pub(super) fn sysctl(task: &mut dyn Task, call: &Call) -> Answered {
    let word = word_size(call.abi);
    let args = Args::read(task, call.ptr(0), word)?;
    // Only 1 to CTL_MAXNAME numbers were ever a name.
    if !(1..=MAX_NAME).contains(&args.nlen) {
        return Err(Errno::ENOTDIR);
    }
    let mut raw = vec![0; 4 * args.nlen as usize];
    task.read(args.name, &mut raw)?;
    let name: Vec<i32> = raw.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four)).collect();
    let world = task.world();
    let text = match name.as_slice() {
        [CTL_KERN, KERN_OSTYPE] => b"Linux".to_vec(),
        [CTL_KERN, KERN_OSRELEASE] => world.release.clone().into_bytes(),
        [CTL_KERN, KERN_VERSION] => world.version.clone().into_bytes(),
        [CTL_KERN, KERN_NODENAME] => task.names()?.0,
        [CTL_KERN, KERN_DOMAINNAME] => task.names()?.1,
        _ => return Err(Errno::ENOTDIR),
    };
    if !args.newval.is_null() {
        return Err(Errno::EPERM);
    }
    if !args.oldval.is_null() {
        give(task, &args, word, &text)?;
    }
    Ok(Reply::Value(0))
}

/// Copies what fits with its NUL and tells the whole length, as Linux 2.6.24 and later did; before,
/// the NUL could land behind the guest's buffer.
fn give(task: &mut dyn Task, args: &Args, word: usize, text: &[u8]) -> Result<(), Errno> {
    if args.oldlenp.is_null() {
        return Err(Errno::EFAULT);
    }
    let room = read_word(task, args.oldlenp, word)?;
    if room == 0 {
        return Ok(());
    }
    let len = text.len().min(usize::try_from(room - 1).unwrap_or(usize::MAX));
    let mut out = text[..len].to_vec();
    out.push(0);
    task.write(args.oldval, &out)?;
    task.write(args.oldlenp, &(text.len() as u64).to_le_bytes()[..word])
}

impl Args {
    /// Six words, of which `nlen` is an int.
    fn read(task: &mut dyn Task, at: GuestPtr, word: usize) -> Result<Self, Errno> {
        let mut raw = vec![0; 6 * word];
        task.read(at, &mut raw)?;
        let field = |i: usize| {
            let mut eight = [0; 8];
            eight[..word].copy_from_slice(&raw[i * word..][..word]);
            u64::from_le_bytes(eight)
        };
        Ok(Self {
            name: GuestPtr(field(0)),
            nlen: field(1) as u32 as i32,
            oldval: GuestPtr(field(2)),
            oldlenp: GuestPtr(field(3)),
            newval: GuestPtr(field(4)),
        })
    }
}

fn word_size(abi: Abi) -> usize {
    match abi {
        Abi::X86_64 => 8,
        Abi::I386 => 4,
    }
}

fn read_word(task: &mut dyn Task, at: GuestPtr, word: usize) -> Result<u64, Errno> {
    let mut eight = [0; 8];
    task.read(at, &mut eight[..word])?;
    Ok(u64::from_le_bytes(eight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Fake, call};

    const ARGS: u64 = 0x5000;
    const NAME: u64 = 0x6000;
    const LEN: u64 = 0x7000;
    const OUT: u64 = 0x8000;

    /// Asks for a name with a buffer of `room` bytes, on either ABI.
    fn ask(fake: &mut Fake, abi: Abi, name: &[i32], room: u64, newval: u64) -> Answered {
        let raw: Vec<u8> = name.iter().flat_map(|n| n.to_le_bytes()).collect();
        fake.put(NAME, &raw);
        let word = word_size(abi);
        fake.put(LEN, &room.to_le_bytes()[..word]);
        fake.put(OUT, &[0xee; 128]);
        let fields = [NAME, name.len() as u64, OUT, LEN, newval, 0, 0, 0, 0, 0];
        let raw: Vec<u8> = fields.iter().flat_map(|f| f.to_le_bytes()[..word].to_vec()).collect();
        fake.put(ARGS, &raw);
        sysctl(fake, &call(abi, "_sysctl", &[ARGS]))
    }

    #[test]
    fn strings_are_those_of_uname() {
        for abi in Abi::ALL {
            let mut fake = Fake::linux(Some("2.4.37"), None);
            let version = fake.world.version.clone();
            for (name, text) in [
                (KERN_OSTYPE, "Linux"),
                (KERN_OSRELEASE, "2.4.37"),
                (KERN_VERSION, version.as_str()),
                (KERN_NODENAME, "guest"),
                (KERN_DOMAINNAME, "(none)"),
            ] {
                assert_eq!(ask(&mut fake, abi, &[CTL_KERN, name], 100, 0), Ok(Reply::Value(0)));
                assert_eq!(fake.get(OUT, text.len() + 1), format!("{text}\0").as_bytes());
                assert_eq!(fake.get(LEN, 4), (text.len() as u32).to_le_bytes());
            }
        }
    }

    #[test]
    fn a_short_buffer_is_filled_and_no_more() {
        let mut fake = Fake::linux(Some("2.4.37"), None);
        ask(&mut fake, Abi::I386, &[CTL_KERN, KERN_OSTYPE], 3, 0).unwrap();
        assert_eq!(fake.get(OUT, 4), b"Li\0\xee");
        assert_eq!(fake.get(LEN, 4), 5u32.to_le_bytes());
        ask(&mut fake, Abi::I386, &[CTL_KERN, KERN_OSTYPE], 0, 0).unwrap();
        assert_eq!(fake.get(OUT, 1), [0xee]);
    }

    #[test]
    fn names_that_are_not_ours_and_writes() {
        let mut fake = Fake::linux(Some("2.4.37"), None);
        let mut say = |name: &[i32], newval| ask(&mut fake, Abi::X86_64, name, 100, newval);
        assert_eq!(say(&[CTL_KERN, 99], 0), Err(Errno::ENOTDIR));
        assert_eq!(say(&[2, 1], 0), Err(Errno::ENOTDIR));
        assert_eq!(say(&[CTL_KERN], 0), Err(Errno::ENOTDIR));
        assert_eq!(say(&[], 0), Err(Errno::ENOTDIR));
        assert_eq!(say(&[1; 11], 0), Err(Errno::ENOTDIR));
        assert_eq!(say(&[CTL_KERN, KERN_NODENAME], 0x9000), Err(Errno::EPERM));
    }

    #[test]
    fn bad_pointers() {
        let mut fake = Fake::linux(Some("2.4.37"), None);
        let reply = sysctl(&mut fake, &call(Abi::I386, "_sysctl", &[0]));
        assert_eq!(reply, Err(Errno::EFAULT));
        ask(&mut fake, Abi::I386, &[CTL_KERN, KERN_OSTYPE], 9, 0).unwrap();
        fake.put(ARGS + 12, &[0; 4]);
        let reply = sysctl(&mut fake, &call(Abi::I386, "_sysctl", &[ARGS]));
        assert_eq!(reply, Err(Errno::EFAULT));
    }
}
