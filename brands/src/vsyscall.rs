//! Uses of the vsyscall page, in the bytes of a program.
//!
//! Until glibc 2.14 amd64 programs called time(2), gettimeofday(2) and getcpu(2) at fixed addresses.
//! A host with `vsyscall=none` has nothing there, and the page fault kills the program before any
//! filter sees a call. What compilers made of a call by name has the length of a system call and more; everywhere
//! else that an address stands, the address of a stub in a page of the process's own ([`page`]) can stand too.

use crate::level::Level;

/// First release whose page has getcpu (arch/x86_64/kernel/vsyscall.c, vgetcpu). As a system call of x86_64 it came with 3.1; a
/// host of today makes one of it, by itself or as rewritten.
pub const GETCPU: Level = Level::new(2, 6, 19);

/// One of the page's three functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// gettimeofday(2), at 0xffffffffff600000.
    Gettimeofday,
    /// time(2), at 0xffffffffff600400.
    Time,
    /// getcpu(2), at 0xffffffffff600800.
    Getcpu,
}

/// What a function's address stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `mov $address,%rax; call *%rax`, nine bytes.
    Call,
    /// `mov $address,%rax; jmp *%rax`: the last that a function does.
    Tail,
    /// The four bytes, which the processor extends by their sign, of a `mov` to any register or to memory.
    Immediate,
    /// The eight bytes of a `movabs`.
    Wide,
    /// Eight aligned bytes of data.
    Word,
}

/// A use of the page in a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Where what is replaced begins: the instructions of a call, else the address.
    pub offset: usize,
    /// What it is for.
    pub function: Function,
    /// What the address stands in.
    pub form: Form,
}

/// As many bytes on either side of an address say what it stands in.
pub const CONTEXT: usize = 8;

/// Size of [`page`].
pub const PAGE: usize = 4096;

/// Where [`page`] may be mapped, best first. All within reach of a [`Form::Immediate`]. The first are below programs of every
/// linker (0x200000 of lld, 0x400000 of the others), whose heaps grow upward, and above the megabyte that DOS
/// emulators use; the last are for those that lie there all the same.
pub const PLACES: [u32; 6] = [0x1f_0000, 0x1c_0000, 0x18_0000, 0x7eff_0000, 0x6fff_0000, 0x3fff_0000];

impl Function {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gettimeofday, Self::Time, Self::Getcpu];

    /// Second byte of the address; the other seven are the same for all.
    const fn at(self) -> u8 {
        match self {
            Self::Gettimeofday => 0x00,
            Self::Time => 0x04,
            Self::Getcpu => 0x08,
        }
    }

    /// Where in the page it is, and in ours.
    const fn offset(self) -> u32 {
        (self.at() as u32) << 8
    }

    /// Number of the system call that does the same (asm/unistd_64.h).
    pub const fn number(self) -> u32 {
        match self {
            Self::Gettimeofday => 96,
            Self::Time => 201,
            Self::Getcpu => 309,
        }
    }
}

impl Form {
    /// Length of what is replaced, in bytes.
    pub const fn size(self) -> usize {
        match self {
            Self::Call | Self::Tail => 9,
            Self::Immediate => 4,
            Self::Wide | Self::Word => 8,
        }
    }

    /// Whether what is put in its place leads to [`page`].
    pub const fn needs_page(self) -> bool {
        !matches!(self, Self::Call | Self::Tail)
    }

    /// Whether it stands in code.
    pub const fn is_code(self) -> bool {
        !matches!(self, Self::Word)
    }
}

impl Site {
    /// Where the address itself begins.
    pub const fn address_offset(self) -> usize {
        match self.form {
            Form::Call | Form::Tail => self.offset + 3,
            _ => self.offset,
        }
    }

    /// What stands there: as many bytes as the form is long, and zeroes.
    pub const fn original(self) -> [u8; 9] {
        let at = self.function.at();
        match self.form {
            Form::Call => [0x48, 0xc7, 0xc0, 0x00, at, 0x60, 0xff, 0xff, 0xd0],
            Form::Tail => [0x48, 0xc7, 0xc0, 0x00, at, 0x60, 0xff, 0xff, 0xe0],
            Form::Immediate => [0x00, at, 0x60, 0xff, 0, 0, 0, 0, 0],
            Form::Wide | Form::Word => [0x00, at, 0x60, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
        }
    }

    /// What is to stand there, where [`page`] lies at `page`. A call becomes `mov $number,%eax; syscall; nop; nop`, or
    /// `ret; nop`: of the registers, a system call clobbers only what a called function may.
    pub const fn rewritten(self, page: u32) -> [u8; 9] {
        let nr = self.function.number().to_le_bytes();
        let stub = (page + self.function.offset()).to_le_bytes();
        match self.form {
            Form::Call => [0xb8, nr[0], nr[1], nr[2], nr[3], 0x0f, 0x05, 0x90, 0x90],
            Form::Tail => [0xb8, nr[0], nr[1], nr[2], nr[3], 0x0f, 0x05, 0xc3, 0x90],
            // Of a place below 2 GiB, either extension is zeroes.
            _ => [stub[0], stub[1], stub[2], stub[3], 0, 0, 0, 0, 0],
        }
    }
}

/// A page to call in place of the kernel's: at the functions' offsets `mov $number,%eax; syscall; ret`, and traps
/// between them. So whoever computes one function's address from another's arrives too.
pub fn page() -> [u8; PAGE] {
    let mut page = [0xcc; PAGE];
    for function in Function::ALL {
        let [a, b, c, d] = function.number().to_le_bytes();
        let at = function.offset() as usize;
        page[at..at + 8].copy_from_slice(&[0xb8, a, b, c, d, 0x0f, 0x05, 0xc3]);
    }
    page
}

/// Gives the uses of the page in `bytes`, in order. `bytes` begin at a multiple of 8.
pub fn sites(bytes: &[u8], found: &mut dyn FnMut(Site)) {
    let windows = bytes.windows(4).enumerate();
    let addresses = windows.filter(|(_, four)| matches!(four, [0x00, 0x00 | 0x04 | 0x08, 0x60, 0xff]));
    addresses.filter_map(|(at, _)| site(bytes, at)).for_each(found);
}

/// The use whose address stands at `at`.
fn site(bytes: &[u8], at: usize) -> Option<Site> {
    let (before, rest) = bytes.split_at(at);
    let function = Function::ALL.into_iter().find(|function| function.at() == rest[1])?;
    let (offset, form) = match rest[4..] {
        [0xff, 0xff, 0xff, 0xff, ..] => match *before {
            // REX.W, and REX.B for the upper registers.
            [.., 0x48 | 0x49, 0xb8..=0xbf] => (at, Form::Wide),
            _ if at.is_multiple_of(8) => (at, Form::Word),
            _ => return None,
        },
        [0xff, 0xd0, ..] if before.ends_with(&[0x48, 0xc7, 0xc0]) => (at - 3, Form::Call),
        [0xff, 0xe0, ..] if before.ends_with(&[0x48, 0xc7, 0xc0]) => (at - 3, Form::Tail),
        _ if is_mov(before) => (at, Form::Immediate),
        _ => return None,
    };
    Some(Site { offset, function, form })
}

/// Whether code ends in a 64-bit `mov` that lacks its four bytes: REX.W c7 /0, a register or memory in any of the forms
/// of the processor's manual (Intel SDM, volume 2, 2.1.5).
fn is_mov(code: &[u8]) -> bool {
    // Between c7 and the four bytes: ModRM, SIB, displacement.
    [1, 2, 3, 5, 6].into_iter().any(|len| {
        let Some(at) = code.len().checked_sub(len + 2) else { return false };
        let [rex, 0xc7, modrm, ref rest @ ..] = code[at..] else { return false };
        let sib = (modrm & 7 == 4).then(|| rest.first().copied().unwrap_or(0));
        let (sib_len, displacement) = match (modrm >> 6, modrm & 7, sib) {
            (3, ..) => (0, 0),
            (0, 5, _) => (0, 4),
            (0, _, Some(sib)) if sib & 7 == 5 => (1, 4),
            (mode, _, sib) => (usize::from(sib.is_some()), [0, 1, 4][usize::from(mode)]),
        };
        // REX.W, with X and B; R has no meaning here.
        rex & 0xfc == 0x48 && modrm & 0x38 == 0 && len == 1 + sib_len + displacement
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: [u8; 8] = [0x00, 0x04, 0x60, 0xff, 0xff, 0xff, 0xff, 0xff];

    /// An instruction with the address of time, as gas makes it, its four bytes last.
    fn mov(before: &[u8]) -> Vec<u8> {
        [before, &TIME[..4]].concat()
    }

    fn all(bytes: &[u8]) -> Vec<Site> {
        let mut all = Vec::new();
        sites(bytes, &mut |site| all.push(site));
        all
    }

    fn forms(code: &[u8]) -> Vec<(usize, Form)> {
        all(code).into_iter().map(|site| (site.offset, site.form)).collect()
    }

    #[test]
    fn calls_are_found_where_they_stand() {
        let mut code = vec![0x55, 0x48, 0xc7];
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xd0, 0xc3]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x00, 0x60, 0xff, 0xff, 0xd0]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x08, 0x60, 0xff, 0xff, 0xd0]);
        code.extend([0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xe0]);
        let site = |offset, function, form| Site { offset, function, form };
        let wanted = [
            site(3, Function::Time, Form::Call),
            site(13, Function::Gettimeofday, Form::Call),
            site(22, Function::Getcpu, Form::Call),
            site(31, Function::Time, Form::Tail),
        ];
        assert_eq!(all(&code), wanted);
        // Another place of the page; cut short; no jump: of the last two the address alone.
        assert_eq!(forms(&[0x48, 0xc7, 0xc0, 0x00, 0x0c, 0x60, 0xff, 0xff, 0xd0]), []);
        assert_eq!(forms(&code[..11]), [(6, Form::Immediate)]);
        assert_eq!(forms(&[0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xf0]), [(3, Form::Immediate)]);
    }

    #[test]
    fn addresses_are_found_in_every_mov() {
        for before in [
            // %rcx; %r11; (%rax); (%r8); 8(%rsp); -8(%rbp); 0x100(%rbx); x(%rip); (%rsp); x(,%rax,8); 0x100(%rsp)
            &[0x48, 0xc7, 0xc1][..],
            &[0x49, 0xc7, 0xc3],
            &[0x48, 0xc7, 0x00],
            &[0x49, 0xc7, 0x00],
            &[0x48, 0xc7, 0x44, 0x24, 0x08],
            &[0x48, 0xc7, 0x45, 0xf8],
            &[0x48, 0xc7, 0x83, 0x00, 0x01, 0x00, 0x00],
            &[0x48, 0xc7, 0x05, 0x44, 0x33, 0x22, 0x11],
            &[0x48, 0xc7, 0x04, 0x24],
            &[0x48, 0xc7, 0x04, 0xc5, 0x44, 0x33, 0x22, 0x11],
            &[0x48, 0xc7, 0x84, 0x24, 0x00, 0x01, 0x00, 0x00],
        ] {
            assert_eq!(forms(&mov(before)), [(before.len(), Form::Immediate)], "{before:x?}");
            let within = [&[0x90, 0x90, 0x31, 0xff][..], &mov(before), &[0x31, 0xff]].concat();
            assert_eq!(forms(&within), [(before.len() + 4, Form::Immediate)], "{before:x?}");
        }
        for other in [
            // 32 bits; c7 /1; 81 /0 (add); 81 /7 (cmp); a displacement that is too short for its ModRM; nothing.
            &[0xc7, 0xc1][..],
            &[0x48, 0xc7, 0xc8],
            &[0x48, 0x81, 0xc1],
            &[0x48, 0x81, 0xf9],
            &[0x48, 0xc7, 0x45],
            &[0x48, 0xc7, 0x83, 0x00],
            &[],
        ] {
            assert_eq!(forms(&mov(other)), [], "{other:x?}");
        }
    }

    #[test]
    fn whole_addresses_are_a_movabs_or_aligned() {
        let wide = |before: &[u8]| forms(&[before, &TIME].concat());
        assert_eq!(wide(&[0x90, 0x48, 0xb8]), [(3, Form::Wide)]);
        assert_eq!(wide(&[0x49, 0xbb]), [(2, Form::Wide)]);
        assert_eq!(wide(&[0, 0, 0, 0, 0, 0, 0x48, 0xb9]), [(8, Form::Wide)]);
        assert_eq!(wide(&[]), [(0, Form::Word)]);
        assert_eq!(wide(&[0; 16]), [(16, Form::Word)]);
        assert_eq!(wide(&[0; 12]), []);
        assert_eq!(wide(&[0x4a, 0xb8]), []);
        assert_eq!(forms(&TIME[..7]), []);
    }

    #[test]
    fn a_rewritten_call_is_the_system_call() {
        let time = |form| Site { offset: 0, function: Function::Time, form };
        assert_eq!(time(Form::Call).rewritten(0), [0xb8, 0xc9, 0, 0, 0, 0x0f, 0x05, 0x90, 0x90]);
        assert_eq!(time(Form::Tail).rewritten(0), [0xb8, 0xc9, 0, 0, 0, 0x0f, 0x05, 0xc3, 0x90]);
        for function in Function::ALL {
            let number = crate::abi::Abi::X86_64.number(&format!("{function:?}").to_lowercase());
            assert_eq!(number, Some(function.number()));
        }
    }

    #[test]
    fn a_rewritten_address_is_that_of_a_stub() {
        let bytes = page();
        for place in PLACES {
            // Extended by sign it is what it was, and the page begins on one.
            assert!(place.cast_signed() > 0x10000 && place.is_multiple_of(4096));
            for function in Function::ALL {
                for form in [Form::Immediate, Form::Wide, Form::Word] {
                    let site = Site { offset: 0, function, form };
                    let mut address = [0; 8];
                    address[..form.size()].copy_from_slice(&site.rewritten(place)[..form.size()]);
                    let at = u64::from_le_bytes(address) - u64::from(place);
                    assert_eq!(at, u64::from(function.offset()));
                    let stub = &bytes[at as usize..][..8];
                    let whole = Site { form: Form::Tail, ..site }.rewritten(place);
                    assert_eq!(stub, &whole[..8]);
                    let long = (0xffff_ffff_ff60_0000 + at).to_le_bytes();
                    assert_eq!(site.original()[..form.size()], long[..form.size()]);
                }
            }
        }
    }

    fn any_site() -> impl Strategy<Value = (Vec<u8>, Function, Form)> {
        let function = prop::sample::select(&Function::ALL[..]);
        let forms = vec![Form::Call, Form::Tail, Form::Immediate, Form::Wide, Form::Word];
        (function, prop::sample::select(forms)).prop_map(|(function, form)| {
            let before: &[u8] = match form {
                Form::Immediate => &[0x48, 0xc7, 0x45, 0xf8],
                Form::Wide => &[0x49, 0xba],
                _ => &[],
            };
            let original = Site { offset: 0, function, form }.original();
            ([before, &original[..form.size()]].concat(), function, form)
        })
    }

    proptest! {
        /// Whatever surrounds them, uses are found and, once rewritten, found no more.
        #[test]
        fn rewriting_leaves_none(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0usize..200,
            (own, function, form) in any_site(),
        ) {
            let mut at = at.min(bytes.len());
            if form == Form::Word {
                at -= at % 8;
            }
            let own_len = own.len();
            bytes.splice(at..at, own);
            let found = all(&bytes);
            let offset = at + own_len - form.size();
            let whole = |site: &&Site| site.offset == offset && site.function == function;
            let own = found.iter().find(whole).map(|site| site.form);
            // Bytes before a word may make it a movabs, and those after four bytes of 0xff.
            prop_assert!(own == Some(form) || matches!(form, Form::Word | Form::Immediate));
            for site in found {
                let there = site.offset..site.offset + site.form.size();
                prop_assert_eq!(&bytes[there.clone()], &site.original()[..site.form.size()]);
                bytes[there].copy_from_slice(&site.rewritten(PLACES[0])[..site.form.size()]);
            }
            prop_assert_eq!(all(&bytes), vec![]);
        }

        /// What an address stands in is seen from its surroundings alone.
        #[test]
        fn no_more_than_the_context_counts(
            (own, ..) in any_site(),
            before in prop::collection::vec(any::<u8>(), 40),
            after in prop::collection::vec(any::<u8>(), 40),
        ) {
            let bytes = [&before[..], &own, &after].concat();
            let part = all(&bytes[32 - CONTEXT..before.len() + own.len() + CONTEXT]);
            let moved = |site: Site| Site { offset: site.offset + 32 - CONTEXT, ..site };
            for site in part.into_iter().map(moved).filter(|site| site.offset >= before.len()) {
                prop_assert!(all(&bytes).contains(&site));
            }
        }
    }
}
