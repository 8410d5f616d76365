//! Laws that every brand obeys at every level: the filter does with each call what the table says,
//! and what it notifies, a handler answers.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, outside its function too")]

use brands::abi::Abi;
use brands::call::Call;
use brands::cond::{Cond, Test};
use brands::engine::{Compiled, Done, expecting, shadowed};
use brands::fake::Fake;
use brands::filter::{SKIPPED, Verdict, X32_BIT};
use brands::history;
use brands::interp::{self, Data};
use brands::level::Level;
use brands::platform::{Platform, Request};
use brands::table::{self, Brand};
use proptest::prelude::*;
use proptest::sample::Index;

const LEVELS: [&str; 12] = [
    "2.0.36", "2.2.26", "2.4.37", "2.6.9", "2.6.18", "2.6.24", "2.6.32", "3.10", "4.18", "5.4", "5.5", "6.1",
];

/// Every kind of zone that a brand can be asked for.
fn zones() -> impl Iterator<Item = (&'static Brand, Platform)> {
    let levels = || LEVELS.iter().map(Some).chain([None]);
    let arches = || [None, Some("i686")].into_iter();
    // Whether it is strict, and the release that the host is taken for.
    let hosts = || [(false, None), (true, None), (false, Some("4.18")), (true, Some("5.10"))].into_iter();
    let request = |level: Option<&&str>, arch: Option<&str>, (strict, host): (bool, Option<&str>)| Request {
        level: level.map(|text| Level::parse_release(text).unwrap()),
        arch: arch.map(str::to_owned),
        host_release: "6.18.2".to_owned(),
        host_version: "#1 SMP".to_owned(),
        strict,
        host: host.map(|text| text.parse().unwrap()),
        // Beside one of the others, so that there are not twice as many.
        wide_inodes: arch.is_some(),
        has_quota: arch.is_some(),
        ..Request::default()
    };
    table::all().iter().flat_map(move |brand| {
        levels().flat_map(move |level| {
            arches().flat_map(move |arch| {
                hosts().map(move |host| (*brand, brand.platform(&request(level, arch, host))))
            })
        })
    })
}

/// Arguments around everything that the brand's rows for a call compare with.
fn patterns(brand: &Brand, abi: Abi, nr: u32) -> Vec<[u64; 6]> {
    let mut out = vec![[0; 6], [u64::MAX; 6], [0x5555_5555_5555_5555; 6], [0xffff_ffff; 6]];
    let rows = brand.rows().filter(|row| row.number(abi) == Some(nr));
    let tests: Vec<_> = rows.flat_map(|row| row.cond.tests()).collect();
    // Every value in its place, next to it and with a dirty upper half, beside each of the other
    // arguments' values, so that conditions joined by `and` are met too.
    let mut base = [0; 6];
    for &(index, test) in &tests {
        base[usize::from(index)] = value(test);
    }
    out.push(base);
    for &(index, test) in &tests {
        for value in around(test) {
            let mut args = base;
            args[usize::from(index)] = value;
            out.push(args);
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

fn value(test: Test) -> u64 {
    match test {
        Test::Is(value) | Test::IsNot(value) => value,
        Test::Bits { value, .. } | Test::BitsNot { value, .. } => value,
        Test::AtLeast(value) | Test::Below(value) => value.into(),
    }
}

fn around(test: Test) -> Vec<u64> {
    let value = value(test);
    let mut out = vec![
        value,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value | 0xdead_beef_0000_0000,
        value ^ 1 << 32,
        value ^ 1 << 31,
        !value,
    ];
    if let Test::Bits { mask, .. } | Test::BitsNot { mask, .. } = test {
        out.extend([value | !mask, value ^ mask, value ^ (mask & mask.wrapping_neg())]);
        out.extend((0..64).map(|bit| value ^ 1 << bit));
    }
    out
}

fn verdict(compiled: &Compiled, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let Some(program) = compiled.program() else { return Verdict::Allow.ret() };
    interp::run(program, &Data { nr, arch, ip: 0x1234, args }).unwrap().ret
}

#[test]
fn the_filter_is_the_table() {
    let numbers = || (0..=600).chain(X32_BIT..=X32_BIT + 600).chain([u32::MAX, u32::MAX - 1, 1 << 31]);
    let mut notified = 0;
    for (brand, Platform { world, .. }) in zones() {
        let compiled = Compiled::new(brand, &world).unwrap();
        for abi in Abi::ALL {
            for nr in numbers() {
                let expected = expecting(brand, &world, abi, nr);
                for args in patterns(brand, abi, nr) {
                    let call = Call { abi, nr, args, ip: 0x1234 };
                    let wanted = match compiled.program() {
                        Some(_) => expected(&args),
                        None => Verdict::Allow,
                    };
                    let got = verdict(&compiled, abi.audit_arch(), nr, args);
                    assert_eq!(got, wanted.ret(), "{} {world:?} {call:x?}", brand.name);
                    let row = compiled.row(&call);
                    // What is notified has a row, or is a number that no table knows.
                    if compiled.program().is_some() {
                        let answered = row.is_some() || nr > history::last(abi);
                        let own = abi == Abi::I386 || nr < X32_BIT;
                        assert_eq!(answered && own && nr != SKIPPED, wanted == Verdict::Notify, "{call:x?}");
                    }
                    notified += usize::from(wanted == Verdict::Notify);
                }
            }
        }
    }
    assert!(notified > 1000, "only {notified} calls were notified");
}

#[test]
fn an_unknown_arch_is_killed_and_a_brand_without_rows_has_no_filter() {
    // AUDIT_ARCH_AARCH64, AUDIT_ARCH_X86_64 without its word size, and nonsense.
    for arch in [0xc000_00b7, 0x8000_003e, 0, u32::MAX] {
        for (brand, Platform { world, .. }) in zones() {
            let compiled = Compiled::new(brand, &world).unwrap();
            match brand.rows().next() {
                None => assert!(compiled.program().is_none()),
                Some(_) => {
                    for nr in [0, 1, 63, 600, u32::MAX] {
                        assert_eq!(verdict(&compiled, arch, nr, [0; 6]), Verdict::Kill.ret());
                    }
                }
            }
        }
    }
}

#[test]
fn x32_is_enosys_and_a_skipped_call_is_left_alone() {
    let linux = table::brand("linux").unwrap();
    let compiled = Compiled::new(linux, &Fake::linux(Some("2.6.18"), None).world).unwrap();
    let x86_64 = Abi::X86_64.audit_arch();
    for nr in [X32_BIT, X32_BIT + 63, 0xffff_fffe] {
        assert_eq!(verdict(&compiled, x86_64, nr, [0; 6]), Verdict::Errno(38).ret());
    }
    for abi in Abi::ALL {
        assert_eq!(verdict(&compiled, abi.audit_arch(), u32::MAX, [0; 6]), Verdict::Allow.ret());
        // The next number that some kernel may give to a call is the monitor's to write down.
        assert_eq!(verdict(&compiled, abi.audit_arch(), 600, [0; 6]), Verdict::Notify.ret());
    }
}

#[test]
fn rows_name_calls_that_exist_and_can_be_reached() {
    for brand in table::all() {
        for row in brand.rows() {
            assert!(Abi::ALL.into_iter().any(|abi| row.number(abi).is_some()), "{}", row.name);
            if let Some(abi) = row.abi {
                assert!(row.number(abi).is_some(), "{} on {abi}", row.name);
            }
        }
    }
    for (brand, Platform { world, .. }) in zones() {
        let compiled = Compiled::new(brand, &world).unwrap();
        for (abi, nr, rows) in compiled.calls() {
            let dead = shadowed(rows);
            assert!(dead.is_none(), "{abi} {nr}: {dead:?} is never reached in {world:?}");
        }
    }
}

#[test]
fn a_call_costs_few_instructions() {
    for (brand, Platform { world, .. }) in zones() {
        let compiled = Compiled::new(brand, &world).unwrap();
        let Some(program) = compiled.program() else { continue };
        let calls = compiled.calls().count() as f64;
        // Each condition costs what it compares, once the call is found.
        let compared = |rows: &[brands::table::Row]| rows.iter().any(|row| row.cond != Cond::Always);
        let conditional: std::collections::BTreeSet<_> =
            compiled.calls().filter(|call| compared(call.2)).map(|call| (call.0, call.1)).collect();
        for abi in Abi::ALL {
            for nr in 0..500 {
                if conditional.contains(&(abi, nr)) {
                    continue;
                }
                let data = Data { nr, arch: abi.audit_arch(), ip: 0, args: [0; 6] };
                let steps = interp::run(program, &data).unwrap().steps as f64;
                assert!(steps <= calls.log2() + 12.0, "{abi} {nr}: {steps} steps, {calls} calls");
            }
        }
    }
}

/// At every release that brought or took a call away: a strict zone has the calls that its level had,
/// and says of each other which release it needs.
#[test]
fn a_strict_zone_has_the_calls_of_its_level() {
    let linux = table::brand("linux").unwrap();
    let mut bounds: Vec<Level> = Abi::ALL
        .into_iter()
        .flat_map(history::entries)
        .flat_map(|call| [Some(call.since), call.until])
        .flatten()
        .chain([Level::newest()])
        .filter(|level| *level >= brands::level::OLDEST)
        .collect();
    bounds.sort();
    bounds.dedup();
    assert!(bounds.len() > 50, "{bounds:?}");
    for level in bounds {
        let platform = linux.platform(&Request {
            level: Some((level, level.to_string())),
            host_release: "6.18.2".to_owned(),
            strict: true,
            ..Request::default()
        });
        let compiled = Compiled::new(linux, &platform.world).unwrap();
        for abi in Abi::ALL {
            for life in history::entries(abi) {
                let call = Call { abi, nr: life.nr, args: [0; 6], ip: 0 };
                // In the vsyscall page, before it was a call of x86_64.
                let in_page = life.name == "getcpu" && level >= Level::new(2, 6, 19);
                let lives = life.lives_in(level) || in_page;
                let mut fake = Fake::new(platform.world.clone());
                if !lives {
                    let answer = compiled.answer(&mut fake, &call);
                    assert_eq!(answer, Err(nix::errno::Errno::ENOSYS), "{abi} {} at {level}", life.name);
                    assert_eq!(compiled.done(&call, &answer), Done::Masked);
                }
                let needs = compiled.needs(&call);
                let young = !lives && life.since > level && !life.never_was();
                assert_eq!(needs, young.then_some(life.since), "{abi} {} at {level}", life.name);
            }
        }
    }
}

/// On a host that is taken for an older one, its calls are ENOSYS or emulated; none is left to the kernel.
#[test]
fn an_older_host_has_the_calls_of_its_age() {
    let linux = table::brand("linux").unwrap();
    let levels = [(None, false), (Some("5.4"), true), (Some("6.12"), true)];
    let hosts = ["4.18", "5.4", "5.10", "6.1"];
    for (host, (level, strict)) in hosts.iter().flat_map(|host| levels.map(|level| (host, level))) {
        let platform = linux.platform(&Request {
            level: level.map(|text| Level::parse_release(text).unwrap()),
            host_release: "6.18.2".to_owned(),
            host: Some(host.parse().unwrap()),
            strict,
            ..Request::default()
        });
        let compiled = Compiled::new(linux, &platform.world).unwrap();
        for abi in Abi::ALL {
            for life in history::entries(abi).iter().filter(|life| life.since > platform.world.host) {
                for args in patterns(linux, abi, life.nr) {
                    let call = Call { abi, nr: life.nr, args, ip: 0 };
                    assert!(compiled.row(&call).is_some(), "{abi} {} {args:x?} on {host}", life.name);
                }
            }
        }
    }
}

proptest! {
    /// No handler panics, whatever a guest passes and has in its memory.
    #[test]
    fn handlers_take_anything(
        which in any::<Index>(),
        zone in any::<Index>(),
        kinds in prop::array::uniform6(0u8..4),
        values in prop::array::uniform6(any::<u64>()),
        memory in prop::collection::vec(any::<u8>(), 1..3000),
        layout in prop::array::uniform3(any::<u32>()),
        word in any::<u64>(),
    ) {
        let zones: Vec<_> = zones().filter(|(brand, _)| brand.rows().next().is_some()).collect();
        let (brand, Platform { world, .. }) = zone.get(&zones);
        let compiled = Compiled::new(brand, world).unwrap();
        let calls: Vec<_> = compiled.calls().map(|(abi, nr, _)| (abi, nr)).collect();
        let &(abi, nr) = which.get(&calls);
        let mut args = values;
        for (arg, kind) in args.iter_mut().zip(kinds) {
            // Pointers into memory, small numbers, and anything.
            *arg = match kind {
                0 => 0x5000 + *arg % 0x3000,
                1 => *arg % 64,
                2 => *arg & 0xffff_ffff,
                _ => *arg,
            };
        }
        let mut fake = Fake::new(world.clone());
        fake.map(0x5000, 0x2000);
        fake.put(0x5000, &memory);
        fake.layout = brands::task::Layout {
            program_end: layout[0].into(),
            start_brk: u64::from(layout[0]).next_multiple_of(4096),
            heap_end: u64::from(layout[0] | layout[2]).next_multiple_of(4096),
        };
        fake.space = word;
        let _ = compiled.answer(&mut fake, &Call { abi, nr, args, ip: 0 });
    }
}
