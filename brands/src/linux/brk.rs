//! brk(2) for libc5 and its contemporaries.
//!
//! Up to Linux 2.4 exec left the break at the unaligned end of the program (fs/binfmt_elf.c,
//! `mm->brk = elf_brk`), and libc5 asks for `_end + n`. Since 2.6 the break begins at the next
//! page, and since 2.6.25 a request below `start_brk` is refused (mm/mmap.c, `min_brk`). A handler
//! cannot move the kernel's break, and need not: the page that `_end` lies in is mapped anyway. So
//! requests within that page are granted here and the break is remembered; those above are the
//! kernel's.
//!
//! The old sys_brk unmapped whole pages only. When the break fell within the page of `_end`, what
//! stood there stayed, and is left alone here too; pages above were gone and came back as zeroes,
//! so they are zeroed here, where the kernel's break stays above them.
//!
//! # What is remembered
//!
//! Eight bytes of the address space ([`Task::space_word`]): the break in the low half, the last
//! request passed to the kernel in the high half.
//!
//! | low | high | meaning |
//! |---|---|---|
//! | 0 | 0 | nothing since exec: the break is `program_end` |
//! | in the page of `_end` | 0 | the break is there |
//! | 0 or in that page | above it | the same, unless the kernel granted that request meanwhile |
//! | [`KERNELS`] | any | the break is the kernel's |
//!
//! Whether a request was granted shows in the heap, which then reaches it: the call itself is over
//! before we could look. The guest can write over the word; what makes no sense in its place is
//! read as a fresh one, or as the kernel's if there is a heap, and either misleads only that guest.

use nix::errno::Errno;

use crate::call::{Answered, Call, Reply};
use crate::platform::ADDR_NO_RANDOMIZE;
use crate::task::{Layout, Task};

const PAGE: u64 = 4096;

/// The low half of a word that says that the break is the kernel's. Not a break of its own: the
/// last page of the address space is never a program's.
const KERNELS: u32 = u32::MAX;

/// Moves the break, or tells it when the request is below the program's end.
pub(super) fn brk(task: &mut dyn Task, call: &Call) -> Answered {
    // A brk that fails returns the old break, never an errno, which a libc takes for an address.
    match decide(task, call.word(0)) {
        Err(Errno::ESRCH) => Err(Errno::ESRCH),
        Err(_) => Ok(Reply::Continue),
        Ok(reply) => Ok(reply),
    }
}

/// Where the break is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// In the page of the program's end.
    Low(u64),
    /// Wherever the kernel has it.
    Kernels,
}

fn decide(task: &mut dyn Task, addr: u64) -> Answered {
    // A break that is randomised begins elsewhere, and there is nothing to look for.
    if task.personality()? & ADDR_NO_RANDOMIZE == 0 {
        return Ok(Reply::Continue);
    }
    let layout = task.layout()?;
    let start = layout.program_end;
    let Some(aligned) = start.checked_next_multiple_of(PAGE) else { return Ok(Reply::Continue) };
    // It may still be randomised; at an aligned end the kernel does as it always did.
    if layout.start_brk != aligned || start == aligned {
        return Ok(Reply::Continue);
    }
    let word = task.space_word()?;
    let now = read(word, &layout, aligned);
    if addr < start {
        return Ok(match now {
            Break::Low(at) => Reply::Value(at as i64),
            Break::Kernels => Reply::Continue,
        });
    }
    let low = match now {
        Break::Low(at) => at as u32,
        Break::Kernels => KERNELS,
    };
    if addr >= aligned {
        // `addr` is a 32-bit register's. The word says what to think of it at the next call.
        let pending = if low == KERNELS { 0 } else { addr as u32 };
        store(task, word, low, pending)?;
        return Ok(Reply::Continue);
    }
    if now == Break::Kernels && layout.heap_end > aligned {
        task.zero(crate::call::GuestPtr(aligned), layout.heap_end - aligned)?;
    }
    store(task, word, addr as u32, 0)?;
    Ok(Reply::Value(addr as i64))
}

fn read(word: u64, layout: &Layout, aligned: u64) -> Break {
    let (low, pending) = (word as u32, word >> 32);
    let in_page = (layout.program_end..aligned).contains(&u64::from(low));
    let has_heap = layout.heap_end > aligned;
    let at = match low {
        KERNELS => return Break::Kernels,
        0 if pending == 0 && has_heap => return Break::Kernels,
        0 => layout.program_end,
        _ if in_page => u64::from(low),
        _ if has_heap => return Break::Kernels,
        _ => layout.program_end,
    };
    let granted = pending >= aligned
        && pending.checked_next_multiple_of(PAGE).is_some_and(|end| layout.heap_end >= end);
    if granted { Break::Kernels } else { Break::Low(at) }
}

fn store(task: &mut dyn Task, old: u64, low: u32, pending: u32) -> Result<(), Errno> {
    let new = u64::from(pending) << 32 | u64::from(low);
    // Once the break is the kernel's it mostly stays so; spare those calls a write.
    if new == old { Ok(()) } else { task.set_space_word(new) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::abi::Abi;
    use crate::fake::{Fake, call};

    const START: u64 = 0x0804_a123;
    const ALIGNED: u64 = 0x0804_b000;

    /// A guest on today's kernel, which grants breaks up to a limit.
    #[derive(Clone)]
    struct Guest {
        task: Fake,
        kernel: u64,
        limit: u64,
    }

    impl Guest {
        fn new(start: u64) -> Self {
            let mut task = Fake::linux(Some("2.0.36"), Some("i386"));
            let kernel = start.next_multiple_of(PAGE);
            task.layout = Layout { program_end: start, start_brk: kernel, heap_end: kernel };
            Self { task, kernel, limit: kernel + 64 * PAGE }
        }

        fn brk(&mut self, addr: u64) -> u64 {
            match brk(&mut self.task, &call(Abi::I386, "brk", &[addr])).unwrap() {
                Reply::Value(value) => value as u64,
                Reply::Continue => {
                    if (self.task.layout.start_brk..=self.limit).contains(&addr) {
                        self.kernel = addr;
                        self.task.layout.heap_end = addr.next_multiple_of(PAGE);
                    }
                    self.kernel
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_break_begins_at_the_programs_end() {
        let mut guest = Guest::new(START);
        assert_eq!(guest.brk(0), START);
        assert_eq!(guest.brk(START + 5), START + 5);
        assert_eq!(guest.brk(START - 1), START + 5);
        assert_eq!(guest.brk(START), START);
        assert_eq!(guest.brk(ALIGNED - 1), ALIGNED - 1);
        assert_eq!(guest.kernel, ALIGNED);
    }

    #[test]
    fn above_the_page_the_kernel_decides() {
        let mut guest = Guest::new(START);
        assert_eq!(guest.brk(START + 0x10_000), START + 0x10_000);
        assert_eq!(guest.brk(0), START + 0x10_000);
        assert_eq!(guest.brk(ALIGNED), ALIGNED);
        assert_eq!(guest.brk(0), ALIGNED);
    }

    #[test]
    fn a_refused_request_leaves_the_break_where_it_was() {
        let mut guest = Guest::new(START);
        guest.brk(START + 9);
        let beyond = guest.limit + 1;
        assert_ne!(guest.brk(beyond), beyond);
        assert_eq!(guest.brk(0), START + 9);
        guest.brk(START + 0x5000);
        assert_ne!(guest.brk(beyond), beyond);
        assert_eq!(guest.brk(0), START + 0x5000);
    }

    #[test]
    fn memory_given_up_reads_as_zero_when_it_comes_back() {
        let mut guest = Guest::new(START);
        guest.brk(START + 0x3000);
        assert_eq!(guest.brk(START + 8), START + 8);
        let heap = (START + 0x3000).next_multiple_of(PAGE) - ALIGNED;
        assert_eq!(guest.task.zeroed, [(ALIGNED, heap)]);
        assert_eq!(guest.brk(START + 7), START + 7);
        assert_eq!(guest.brk(START + 0x1000), START + 0x1000);
        assert_eq!(guest.brk(0), START + 0x1000);
        assert_eq!(guest.task.zeroed.len(), 1);
    }

    #[test]
    fn forks_go_their_own_way_and_exec_starts_over() {
        let mut parent = Guest::new(START);
        parent.brk(START + 100);
        let mut child = parent.clone();
        assert_eq!(child.brk(START + 0x2000), START + 0x2000);
        assert_eq!(child.brk(0), START + 0x2000);
        assert_eq!(parent.brk(0), START + 100);
        assert_eq!(Guest::new(START).brk(0), START);
    }

    #[test]
    fn an_aligned_or_randomised_break_is_the_kernels() {
        let mut guest = Guest::new(ALIGNED);
        assert_eq!(guest.brk(0), ALIGNED);
        assert_eq!(guest.brk(ALIGNED - 1), ALIGNED);
        let mut guest = Guest::new(START);
        guest.task.layout.start_brk += 0x1000;
        for addr in [0, START, START + 1, ALIGNED, ALIGNED + 0x2000] {
            let reply = brk(&mut guest.task, &call(Abi::I386, "brk", &[addr]));
            assert_eq!(reply, Ok(Reply::Continue));
        }
        assert_eq!(guest.task.space, 0);
    }

    #[test]
    fn a_word_that_makes_no_sense_is_harmless() {
        for word in [START - 1, ALIGNED, 1, 0x1_0000_0000, u64::MAX, 5 << 32 | START] {
            let mut guest = Guest::new(START);
            guest.task.space = word;
            let first = guest.brk(0);
            assert!((START..=ALIGNED).contains(&first), "{word:#x} {first:#x}");
            assert_eq!(guest.brk(START + 3), START + 3, "{word:#x}");
            assert_eq!(guest.brk(0), START + 3, "{word:#x}");
        }
        // With a heap they can only mean that the kernel has the break.
        for word in [0, 1, ALIGNED, u64::MAX] {
            let mut guest = Guest::new(START);
            guest.brk(START + 0x2000);
            guest.task.space = word;
            assert_eq!(guest.brk(0), START + 0x2000, "{word:#x}");
        }
    }

    #[test]
    fn the_end_of_the_address_space() {
        let mut guest = Guest::new(START);
        for addr in [0xffff_f000, 0xffff_ffff] {
            assert_ne!(guest.brk(addr), addr);
            assert_eq!(guest.brk(0), START);
        }
    }

    proptest! {
        /// Any sequence of requests gives what a kernel with an unaligned break gives. A refusal
        /// may name another break than the old one, as long as it is not the request.
        #[test]
        fn like_an_unaligned_break(
            low in 0x001u64..0x1000,
            requests in prop::collection::vec(
                prop_oneof![0u64..0x3000, 0u64..0x60_000, Just(0), Just(0x1000), 0xffff_0000u64..0xffff_ffff],
                1..40,
            ),
        ) {
            let page = 0x0804_a000;
            let start = page + low;
            let mut guest = Guest::new(start);
            let mut old = start;
            for request in requests {
                let addr = if request == 0 { 0 } else { (page + request) & 0xffff_ffff };
                let answer = guest.brk(addr);
                if addr < start {
                    prop_assert_eq!(answer, old);
                } else if addr <= guest.limit {
                    prop_assert_eq!(answer, addr);
                    old = addr;
                } else {
                    prop_assert_ne!(answer, addr);
                }
            }
        }
    }
}
