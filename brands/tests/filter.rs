//! The compiler from table to BPF, held against plain evaluation on tables of every shape.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, outside its function too")]

use brands::abi::Abi;
use brands::cond::{Cond, Test, Width, int};
use brands::filter::{Entry, FilterError, MAX_INSNS, Verdict, X32_BIT, compile};
use brands::interp::{self, Data};
use proptest::prelude::*;

fn plain(entries: &[Entry], abi: Abi, nr: u32, args: &[u64; 6]) -> Verdict {
    if abi == Abi::X86_64 && nr >= X32_BIT {
        return if nr == u32::MAX { Verdict::Allow } else { Verdict::Errno(38) };
    }
    let Some(entry) = entries.iter().find(|e| (e.abi, e.nr) == (abi, nr)) else { return Verdict::Allow };
    let case = entry.cases.iter().find(|(cond, _)| cond.holds(abi, args));
    case.map_or(Verdict::Allow, |(_, verdict)| *verdict)
}

fn run(program: &[brands::filter::Insn], abi: Abi, nr: u32, args: [u64; 6]) -> interp::Outcome {
    interp::run(program, &Data { nr, arch: abi.audit_arch(), ip: 0, args }).unwrap()
}

/// `count` rows spread over the numbers, so that no two lie together.
fn spread(count: u32, cond: Cond) -> Vec<Entry> {
    let entry = |i| Entry::call(Abi::I386, 3 * i + 1, vec![(cond, Verdict::Errno(i as u16 % 7 + 1))]);
    (0..count).map(entry).collect()
}

#[test]
fn the_cost_of_a_call_grows_with_the_logarithm() {
    for count in [10, 100, 1000] {
        let entries = spread(count, Cond::Always);
        let program = compile(&entries).unwrap();
        let mut most = 0;
        for nr in 0..3 * count + 10 {
            let outcome = run(&program, Abi::I386, nr, [0; 6]);
            assert_eq!(outcome.ret, plain(&entries, Abi::I386, nr, &[0; 6]).ret());
            most = most.max(outcome.steps);
        }
        // Each row makes two segments; a level of the search is a comparison, and in a big
        // program here and there a long jump.
        let bound = 1.5 * f64::from(count).log2() + 9.0;
        assert!(most as f64 <= bound, "{count} rows: {most} instructions, at most {bound}");
    }
}

#[test]
fn neighbours_with_one_answer_are_one_range() {
    let refused = |nr| Entry::call(Abi::X86_64, nr, vec![(Cond::Always, Verdict::Errno(38))]);
    let one = compile(&[refused(300)]).unwrap().len();
    let many = compile(&(300..400).map(refused).collect::<Vec<_>>()).unwrap().len();
    assert_eq!(one, many);
}

#[test]
fn far_jumps_reach() {
    static PARTS: &[Cond] = &[int(0).is_not(1), int(1).bits(6, 2), int(2).is_not(9)];
    let entries = spread(250, Cond::All(PARTS));
    let program = compile(&entries).unwrap();
    assert!(program.len() > 1500 && program.len() <= MAX_INSNS);
    for nr in 0..800 {
        for args in [[0; 6], [1, 2, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [0, 2, 9, 0, 0, 0]] {
            let got = run(&program, Abi::I386, nr, args).ret;
            assert_eq!(got, plain(&entries, Abi::I386, nr, &args).ret(), "{nr} {args:?}");
        }
    }
}

#[test]
fn too_much_is_refused() {
    assert!(
        matches!(compile(&spread(4000, Cond::Always)), Err(FilterError::TooLong { len }) if len > MAX_INSNS)
    );
    let mut twice = spread(2, Cond::Always);
    twice[1].nr = twice[0].nr;
    assert_eq!(compile(&twice), Err(FilterError::Twice { abi: Abi::I386, nr: 1 }));
}

#[test]
fn the_ends_of_the_numbers() {
    let at = |nr| Entry::call(Abi::I386, nr, vec![(Cond::Always, Verdict::Notify)]);
    let entries = [at(0), at(u32::MAX), at(u32::MAX - 1)];
    let program = compile(&entries).unwrap();
    for nr in [0, 1, u32::MAX - 2, u32::MAX - 1, u32::MAX] {
        assert_eq!(run(&program, Abi::I386, nr, [0; 6]).ret, plain(&entries, Abi::I386, nr, &[0; 6]).ret());
    }
    assert_eq!(run(&compile(&[]).unwrap(), Abi::I386, 7, [0; 6]).ret, Verdict::Allow.ret());
}

/// Conditions live as long as the program; a test can afford it.
fn leak(parts: Vec<Cond>) -> &'static [Cond] {
    parts.leak()
}

/// Few values, so that calls meet them.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..4,
        (0u64..4).prop_map(|v| v << 31),
        (0u64..4).prop_map(|v| v << 32),
        Just(u64::MAX),
        Just(0xffff_ffff),
        any::<u64>(),
    ]
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        word().prop_map(Test::Is),
        word().prop_map(Test::IsNot),
        (word(), word()).prop_map(|(mask, value)| Test::Bits { mask, value: value & mask }),
        (word(), word()).prop_map(|(mask, value)| Test::Bits { mask, value }),
        (word(), word()).prop_map(|(mask, value)| Test::BitsNot { mask, value: value & mask }),
    ]
}

fn cond() -> impl Strategy<Value = Cond> {
    let width = prop_oneof![Just(Width::Int), Just(Width::Long)];
    let leaf = prop_oneof![
        1 => Just(Cond::Always),
        6 => (0u8..3, width, test()).prop_map(|(index, width, test)| Cond::Arg { index, width, test }),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let parts = prop::collection::vec(inner, 0..4).prop_map(leak);
        prop_oneof![parts.clone().prop_map(Cond::All), parts.prop_map(Cond::Any)]
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![Just(Verdict::Allow), Just(Verdict::Notify), (0u16..200).prop_map(Verdict::Errno),]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let abi = prop_oneof![Just(Abi::X86_64), Just(Abi::I386)];
    let cases = prop::collection::vec((cond(), verdict()), 0..4);
    let entry = (abi, 0u32..60, cases).prop_map(|(abi, nr, cases)| Entry::call(abi, nr, cases));
    prop::collection::vec(entry, 0..40).prop_map(|mut entries| {
        entries.sort_by_key(|e| (e.abi, e.nr));
        entries.dedup_by_key(|e| (e.abi, e.nr));
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_table_compiles_to_itself(
        entries in entries(),
        args in prop::collection::vec(prop::array::uniform6(word()), 8),
    ) {
        let program = compile(&entries).unwrap();
        for abi in Abi::ALL {
            for nr in (0..62).chain([u32::MAX, X32_BIT, X32_BIT + 5]) {
                for args in &args {
                    let got = run(&program, abi, nr, *args).ret;
                    prop_assert_eq!(got, plain(&entries, abi, nr, args).ret());
                }
            }
        }
    }
}
