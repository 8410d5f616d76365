//! syslog(2) over the zone's own kernel log.

use nix::errno::Errno;

use crate::call::{Answered, Call, GuestPtr, Reply};
use crate::level::Level;
use crate::task::Task;

/// Bits of capabilities(7). CAP_SYSLOG was part of CAP_SYS_ADMIN until Linux 2.6.37.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYSLOG: u32 = 34;

/// Actions of syslog(2).
const CLOSE: i32 = 0;
const OPEN: i32 = 1;
const READ: i32 = 2;
const READ_ALL: i32 = 3;
const READ_CLEAR: i32 = 4;
const CLEAR: i32 = 5;
const CONSOLE_OFF: i32 = 6;
const CONSOLE_ON: i32 = 7;
const CONSOLE_LEVEL: i32 = 8;
const SIZE_UNREAD: i32 = 9;
const SIZE_BUFFER: i32 = 10;

/// Reads and controls the log. There is no console to be loud on, so its levels are accepted and
/// forgotten.
pub(super) fn syslog(task: &mut dyn Task, call: &Call) -> Answered {
    let (action, buf, len) = (call.int(0), call.ptr(1), call.int(2));
    // Anyone may read it all and ask its size, as with a dmesg_restrict of 0 (proc(5)).
    if !matches!(action, READ_ALL | SIZE_BUFFER) && !may_control(task)? {
        return Err(Errno::EPERM);
    }
    let value = match action {
        CLOSE | OPEN | CONSOLE_OFF | CONSOLE_ON => 0,
        READ => {
            let Some(max) = wanted(buf, len)? else { return Ok(Reply::Value(0)) };
            let text = task.take_log(max)?;
            hand_over(task, buf, &text)?
        }
        READ_ALL | READ_CLEAR => {
            let Some(max) = wanted(buf, len)? else { return Ok(Reply::Value(0)) };
            let max = max.min(task.log().size());
            let text = task.log().last(max, false);
            let len = hand_over(task, buf, &text)?;
            if action == READ_CLEAR {
                task.log().clear();
            }
            len
        }
        CLEAR => {
            task.log().clear();
            0
        }
        CONSOLE_LEVEL if (1..=8).contains(&len) => 0,
        SIZE_UNREAD if has(task, Level::new(2, 4, 10)) => task.log().unread(),
        SIZE_BUFFER if has(task, Level::new(2, 6, 6)) => task.log().size(),
        _ => return Err(Errno::EINVAL),
    };
    Ok(Reply::Value(value as i64))
}

fn may_control(task: &mut dyn Task) -> Result<bool, Errno> {
    let caps = task.ids()?.effective;
    Ok([CAP_SYS_ADMIN, CAP_SYSLOG].into_iter().any(|cap| caps >> cap & 1 == 1))
}

/// How many bytes a reader wants; `None` for none at all.
fn wanted(buf: GuestPtr, len: i32) -> Result<Option<usize>, Errno> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if buf.is_null() {
        return Err(Errno::EINVAL);
    }
    Ok((len > 0).then_some(len))
}

fn hand_over(task: &mut dyn Task, buf: GuestPtr, text: &[u8]) -> Result<usize, Errno> {
    if !text.is_empty() {
        task.write(buf, text)?;
    }
    Ok(text.len())
}

/// Whether the zone's kernel has what came at this release.
fn has(task: &dyn Task, since: Level) -> bool {
    task.world().level.is_none_or(|level| level >= since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::fake::Fake;

    const AT: u64 = 0x5000;

    fn fake(level: &str) -> Fake {
        let mut fake = Fake::linux(Some(level), None);
        fake.map(AT, 4096);
        fake.log.say("<6>one\n<4>two\n");
        fake
    }

    fn ask(fake: &mut Fake, action: i32, buf: u64, len: i64) -> Answered {
        let args = [action as u64, buf, len as u64];
        syslog(fake, &crate::fake::call(Abi::I386, "syslog", &args))
    }

    #[test]
    fn reading_all_leaves_it_and_clearing_hides_it() {
        let mut fake = fake("2.6.18");
        assert_eq!(ask(&mut fake, READ_ALL, AT, 4096), Ok(Reply::Value(14)));
        assert_eq!(fake.get(AT, 14), b"<6>one\n<4>two\n");
        assert_eq!(ask(&mut fake, READ_ALL, AT, 7), Ok(Reply::Value(7)));
        assert_eq!(fake.get(AT, 7), b"<4>two\n");
        assert_eq!(ask(&mut fake, READ_CLEAR, AT, 4096), Ok(Reply::Value(14)));
        assert_eq!(ask(&mut fake, READ_ALL, AT, 4096), Ok(Reply::Value(0)));
        fake.log.say("three");
        assert_eq!(ask(&mut fake, READ_ALL, AT, 4096), Ok(Reply::Value(5)));
        assert_eq!(ask(&mut fake, CLEAR, 0, 0), Ok(Reply::Value(0)));
        assert_eq!(ask(&mut fake, READ_ALL, AT, 4096), Ok(Reply::Value(0)));
    }

    #[test]
    fn reading_takes_what_is_unread() {
        let mut fake = fake("2.6.18");
        assert_eq!(ask(&mut fake, SIZE_UNREAD, 0, 0), Ok(Reply::Value(14)));
        assert_eq!(ask(&mut fake, READ, AT, 7), Ok(Reply::Value(7)));
        assert_eq!(ask(&mut fake, SIZE_UNREAD, 0, 0), Ok(Reply::Value(7)));
        assert_eq!(ask(&mut fake, READ, AT, 100), Ok(Reply::Value(7)));
        assert_eq!(ask(&mut fake, READ, AT, 100), Err(Errno::EINTR));
    }

    #[test]
    fn arguments_are_checked() {
        let mut fake = fake("2.6.18");
        for action in [READ, READ_ALL, READ_CLEAR] {
            assert_eq!(ask(&mut fake, action, 0, 10), Err(Errno::EINVAL));
            assert_eq!(ask(&mut fake, action, AT, -1), Err(Errno::EINVAL));
            assert_eq!(ask(&mut fake, action, AT, 0), Ok(Reply::Value(0)));
            assert_eq!(ask(&mut fake, action, 0x99_0000, 10), Err(Errno::EFAULT));
        }
        assert_eq!(ask(&mut fake, CONSOLE_LEVEL, 0, 0), Err(Errno::EINVAL));
        assert_eq!(ask(&mut fake, CONSOLE_LEVEL, 0, 9), Err(Errno::EINVAL));
        assert_eq!(ask(&mut fake, CONSOLE_LEVEL, 0, 8), Ok(Reply::Value(0)));
        for action in [CLOSE, OPEN, CONSOLE_OFF, CONSOLE_ON] {
            assert_eq!(ask(&mut fake, action, 0, 0), Ok(Reply::Value(0)));
        }
        assert_eq!(ask(&mut fake, 11, 0, 0), Err(Errno::EINVAL));
        assert_eq!(ask(&mut fake, -1, 0, 0), Err(Errno::EINVAL));
    }

    #[test]
    fn only_reading_all_is_for_everyone() {
        let mut fake = fake("2.6.18").unprivileged();
        assert_eq!(ask(&mut fake, READ_ALL, AT, 100), Ok(Reply::Value(14)));
        assert_eq!(ask(&mut fake, SIZE_BUFFER, 0, 0), Ok(Reply::Value(16384)));
        for action in [0, 1, 2, 4, 5, 6, 7, 8, 9, 11] {
            assert_eq!(ask(&mut fake, action, AT, 8), Err(Errno::EPERM), "{action}");
        }
        fake.ids.effective = 1 << CAP_SYSLOG;
        assert_eq!(ask(&mut fake, CLEAR, 0, 0), Ok(Reply::Value(0)));
    }

    #[test]
    fn actions_that_came_later_are_unknown_before() {
        let mut fake = fake("2.2.26");
        assert_eq!(ask(&mut fake, SIZE_UNREAD, 0, 0), Err(Errno::EINVAL));
        assert_eq!(ask(&mut fake, SIZE_BUFFER, 0, 0), Err(Errno::EINVAL));
    }
}
