use super::*;
use crate::fake::{Fake, call};

fn fake() -> Fake {
    Fake::linux(None, None)
}

fn performed(fake: &Fake) -> Vec<&str> {
    fake.performed.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn openat2_is_openat_unless_it_resolves() {
    let how = |flags: u64, mode: u64, resolve: u64| [flags, mode, resolve].map(u64::to_le_bytes).concat();
    let open = |fake: &mut Fake, how: &[u8]| {
        fake.put(0x1000, how);
        fake.put(0x2000, b"a/b\0");
        let size = how.len() as u64;
        paths::openat2(fake, &call(Abi::X86_64, "openat2", &[7, 0x2000, 0x1000, size]))
    };
    let mut guest = fake();
    guest.answers.push_back(9);
    assert_eq!(open(&mut guest, &how(0o2_000_101, 0o640, 0)), Ok(Reply::Value(9)));
    assert_eq!(guest.performed, [("openat".to_owned(), [7, 0x2000, 0o2_000_101, 0o640, 0, 0])]);
    for wrong in [how(1 << 32, 0, 0), how(0, 0o644, 0), how(0, 0, 64), how(0, 0, 24), how(O_PATH | 2, 0, 0)] {
        assert_eq!(open(&mut fake(), &wrong), Err(Errno::EINVAL));
    }
    assert_eq!(open(&mut fake(), &[0; 16]), Err(Errno::EINVAL));
    assert_eq!(open(&mut fake(), &[&how(0, 0, 0)[..], &[1]].concat()), Err(Errno::E2BIG));
    assert_eq!(open(&mut fake(), &how(0, 0, 32)), Err(Errno::EAGAIN));
    // What is found is opened by the guest, and the descriptor that led there is closed.
    let mut guest = fake();
    guest.map(0x9000, SCRATCH);
    guest.answers.extend([0x9000, 3, 0, 0x9000, 5]);
    assert_eq!(open(&mut guest, &how(2, 0, 8)), Ok(Reply::Value(5)));
    assert_eq!(performed(&guest), ["mmap", "openat", "munmap", "mmap", "openat", "munmap", "close"]);
    assert_eq!(guest.get(0x9000, 23), b"/proc/thread-self/fd/3\0");
}

#[test]
fn an_error_of_a_step_is_the_calls() {
    let mut guest = fake();
    guest.answers.push_back(-(Errno::EINTR as i64));
    let reply = files::preadv2(&mut guest, &call(Abi::X86_64, "preadv2", &[3, 0x1000, 1, u64::MAX, 0, 0]));
    assert_eq!(reply, Ok(Reply::Value(-(Errno::EINTR as i64))));
    assert_eq!(performed(&guest), ["readv"]);
    let reply = files::preadv2(&mut guest, &call(Abi::X86_64, "preadv2", &[3, 0x1000, 1, 0, 0, 8]));
    assert_eq!(reply, Err(Errno::EOPNOTSUPP));
}

#[test]
fn offsets_of_minus_one_are_the_files_own() {
    let all = 0xffff_ffff;
    for (low, high, name) in [(all, all, "writev"), (all, 0, "pwritev"), (0, all, "pwritev")] {
        let mut guest = fake();
        guest.answers.push_back(4);
        let reply = files::pwritev2(&mut guest, &call(Abi::I386, "pwritev2", &[3, 0x1000, 1, low, high, 4]));
        assert_eq!(reply, Ok(Reply::Value(4)));
        assert_eq!(performed(&guest), [name, "fsync"]);
    }
}

#[test]
fn statx_is_made_of_stat() {
    for (abi, at_mode, at_size, at_ino) in [(Abi::X86_64, 24, 48, 8), (Abi::I386, 16, 44, 88)] {
        let mut guest = fake();
        guest.map(0x1000, 256);
        guest.put(0x1000 + at_mode, &0o100_644u32.to_le_bytes());
        guest.put(0x1000 + at_size, &5_000_000_000u64.to_le_bytes());
        guest.put(0x1000 + at_ino, &77u64.to_le_bytes());
        // 259:4100
        guest.put(0x1000, &(259u64 << 8 | 4100 & 0xff | (4100 & !0xff) << 12).to_le_bytes());
        let reply = files::statx(&mut guest, &call(abi, "statx", &[CWD, 0x9000, 0, 0x7ff, 0x1000]));
        assert_eq!(reply, Ok(Reply::Value(0)));
        let int = |at: u64| u32::from_le_bytes(guest.get(0x1000 + at, 4).try_into().unwrap());
        let long = |at: u64| u64::from_le_bytes(guest.get(0x1000 + at, 8).try_into().unwrap());
        assert_eq!((int(0), int(28) & 0xffff), (0x7ff, 0o100_644));
        assert_eq!((long(32), long(40)), (77, 5_000_000_000));
        assert_eq!((int(136), int(140)), (259, 4100));
    }
    let reply = files::statx(&mut fake(), &call(Abi::X86_64, "statx", &[CWD, 0, 0x6000, 0, 0]));
    assert_eq!(reply, Err(Errno::EINVAL));
}

#[test]
fn close_range_closes_what_is_open_between() {
    let mut guest = fake();
    guest.descriptors = vec![0, 1, 2, 5, 900];
    let reply = descriptors::close_range(&mut guest, &call(Abi::X86_64, "close_range", &[2, 0xffff_ffff, 2]));
    assert_eq!(reply, Ok(Reply::Value(0)));
    let first: Vec<_> = guest.performed.iter().map(|(name, args)| (name.as_str(), args[0])).collect();
    assert_eq!(first, [("unshare", 0x400), ("close", 2), ("close", 5), ("close", 900)]);
    let wrong = |args: &[u64]| descriptors::close_range(&mut fake(), &call(Abi::X86_64, "close_range", args));
    assert_eq!(wrong(&[3, 2, 0]), Err(Errno::EINVAL));
    assert_eq!(wrong(&[2, 3, 8]), Err(Errno::EINVAL));
}

#[test]
fn timeouts_are_rounded_up() {
    for (seconds, nanoseconds, wanted) in
        [(0i64, 0i64, Ok(0)), (0, 1, Ok(1)), (2, 500_000_001, Ok(2501)), (i64::MAX, 0, Ok(i32::MAX as u64))]
            .into_iter()
            .chain([(-1, 0, Err(Errno::EINVAL)), (0, 1_000_000_000, Err(Errno::EINVAL))])
    {
        let mut guest = fake();
        guest.put(0x1000, &[seconds.to_le_bytes(), nanoseconds.to_le_bytes()].concat());
        let call = call(Abi::X86_64, "epoll_pwait2", &[3, 0x2000, 8, 0x1000, 0, 8]);
        let reply = waits::epoll_pwait2(&mut guest, &call);
        assert_eq!(reply.map(|_| guest.performed[0].1[3]), wanted);
    }
}

#[test]
fn no_replace_tells_files_from_folders() {
    let rename = |answers: &[i64]| {
        let mut guest = fake();
        guest.answers.extend(answers);
        let call = call(Abi::X86_64, "renameat2", &[CWD, 0x1000, CWD, 0x2000, 1]);
        let reply = files::renameat2(&mut guest, &call);
        (reply, performed(&guest).join(" "))
    };
    let errno = |errno: Errno| -(errno as i64);
    assert_eq!(rename(&[0]), (Ok(Reply::Value(0)), "linkat unlinkat".to_owned()));
    assert_eq!(
        rename(&[errno(Errno::EEXIST)]),
        (Ok(Reply::Value(errno(Errno::EEXIST))), "linkat".to_owned())
    );
    let folder = rename(&[errno(Errno::EPERM), errno(Errno::ENOENT)]);
    assert_eq!(folder, (Ok(Reply::Value(0)), "linkat openat renameat".to_owned()));
    assert_eq!(rename(&[errno(Errno::EPERM), 4]), (Err(Errno::EEXIST), "linkat openat close".to_owned()));
}

#[test]
fn random_bytes_fill_what_there_is() {
    let mut guest = fake();
    guest.map(0x1000, 4096);
    let get = |guest: &mut Fake, args: &[u64]| files::getrandom(guest, &call(Abi::X86_64, "getrandom", args));
    assert_eq!(get(&mut guest, &[0x1000, 4096, 1]), Ok(Reply::Value(4096)));
    assert_eq!(get(&mut guest, &[0x1000, 9000, 0]), Ok(Reply::Value(4096)));
    assert_eq!(get(&mut guest, &[0x8000, 1, 0]), Err(Errno::EFAULT));
    assert_eq!(get(&mut guest, &[0x1000, 1, 6]), Err(Errno::EINVAL));
    assert_eq!(get(&mut guest, &[0x1000, 1, 8]), Err(Errno::EINVAL));
}

#[test]
fn one_futex_is_waited_for() {
    let mut guest = fake();
    guest.put(0x1000, &[7u64.to_le_bytes(), 0x2000u64.to_le_bytes(), 130u64.to_le_bytes()].concat());
    let wait = |guest: &mut Fake, count| {
        waits::futex_waitv(guest, &call(Abi::X86_64, "futex_waitv", &[0x1000, count, 0, 0x3000, 0]))
    };
    assert_eq!(wait(&mut guest, 1), Ok(Reply::Value(0)));
    assert_eq!(guest.performed[0].1, [0x2000, 9 | 128 | 256, 7, 0x3000, 0, 0xffff_ffff]);
    assert_eq!(wait(&mut guest, 2), Err(Errno::ENOSYS));
    assert_eq!(wait(&mut guest, 0), Err(Errno::EINVAL));
}
