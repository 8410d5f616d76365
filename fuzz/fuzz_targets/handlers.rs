//! The brands' handlers: calls of a guest with any arguments, in memory that it filled as it liked.
#![no_main]

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use brands::abi::Abi;
use brands::call::Call;
use brands::engine::Compiled;
use brands::fake::Fake;
use brands::file::{Statfs, Statx};
use brands::level::Level;
use brands::platform::{Platform, Request};
use brands::table::{self, Answer};
use brands::task::{FileStatus, Ids, Layout, Pseudo, World};
use libfuzzer_sys::fuzz_target;

const LEVELS: [Option<&str>; 13] = [
    Some("2.0.36"),
    Some("2.2.26"),
    Some("2.4.37"),
    Some("2.6.9"),
    Some("2.6.18"),
    Some("2.6.24"),
    Some("2.6.32"),
    Some("3.10"),
    Some("4.18"),
    Some("5.4"),
    Some("5.5"),
    Some("6.1"),
    None,
];

/// A kind of zone, and the calls that a handler answers there.
struct Zone {
    world: World,
    compiled: Compiled,
    calls: Vec<(Abi, u32)>,
}

static ZONES: LazyLock<Vec<Zone>> = LazyLock::new(|| {
    let mut zones = Vec::new();
    for level in LEVELS {
        for (arch, strict, host) in [
            (None, false, None),
            (None, true, Some("4.18")),
            (Some("i686"), false, Some("5.10")),
            (Some("i686"), true, None),
        ] {
            let request = Request {
                level: level.and_then(|text| Level::parse_release(text).ok()),
                arch: arch.map(str::to_owned),
                host_release: "6.18.2".to_owned(),
                host_version: "#1 SMP".to_owned(),
                strict,
                host: host.and_then(|text| text.parse().ok()),
                wide_inodes: arch.is_some(),
                has_quota: arch.is_some(),
                ..Request::default()
            };
            let brand = table::brand("linux").expect("it is there");
            let Platform { world, .. } = brand.platform(&request);
            let compiled = Compiled::new(brand, &world).expect("it compiles");
            let emulated =
                |rows: &[table::Row]| rows.iter().any(|row| matches!(row.answer, Answer::Emulate(_)));
            let calls = compiled
                .calls()
                .filter(|(_, _, rows)| emulated(rows))
                .map(|(abi, nr, _)| (abi, nr))
                .collect();
            zones.push(Zone { world, compiled, calls });
        }
    }
    zones
});

/// Where the guest has memory.
const MEMORY: [u64; 3] = [0x1_0000, 0xffff_e000, 0x7fff_0000_0000];

#[derive(Debug, Arbitrary)]
enum Argument {
    Any(u64),
    /// Into one of the pieces of memory.
    Pointer(u8, u16),
    Small(u8),
    Int(i32),
}

impl Argument {
    fn value(&self) -> u64 {
        match self {
            Self::Any(value) => *value,
            Self::Pointer(piece, at) => MEMORY[usize::from(*piece) % MEMORY.len()] + u64::from(*at),
            Self::Small(value) => u64::from(*value),
            Self::Int(value) => *value as u32 as u64,
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Guest {
    zone: u8,
    calls: Vec<(u8, [Argument; 6])>,
    ids: (u32, u32, u64),
    personality: u32,
    names: (Vec<u8>, Vec<u8>),
    renamed: bool,
    nested: bool,
    root_is_own: bool,
    layout: (u64, u64, u64),
    space: u64,
    statx: Option<[u64; 4]>,
    statfs: bool,
    directory: Option<Vec<(u64, Vec<u8>)>>,
    position: i64,
    descriptors: Vec<u32>,
    answers: Vec<i64>,
    status: (u32, u32, u32, (u64, u64)),
    mounts: Vec<(Vec<u8>, u8)>,
    log: Vec<u8>,
}

fn guest(of: &Guest, world: &World, memory: &[u8]) -> Fake {
    let mut fake = Fake::new(world.clone());
    for at in MEMORY {
        // Some of it read-only.
        fake.map(at, 0x2000);
        fake.put(at, &memory[..memory.len().min(0x1000)]);
        fake.put(at + 0x2000 - memory.len().min(64) as u64, &memory[..memory.len().min(64)]);
    }
    fake.map(0x1_4000, 0x1000);
    fake.protect(0x1_4000);
    fake.ids = Ids { euid: of.ids.0, egid: of.ids.1, effective: of.ids.2 };
    fake.personality = of.personality;
    // The kernel's names have 64 bytes at most.
    let name = |name: &[u8]| name[..name.len().min(64)].to_vec();
    fake.names = (name(&of.names.0), name(&of.names.1));
    (fake.renamed, fake.nested, fake.root_is_own) = (of.renamed, of.nested, of.root_is_own);
    fake.layout = Layout { program_end: of.layout.0, start_brk: of.layout.1, heap_end: of.layout.2 };
    fake.space = of.space;
    fake.statx = of.statx.map(|words| {
        let mut bytes = [0; 256];
        for (to, from) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes()).cycle()) {
            *to = from;
        }
        Statx(bytes)
    });
    fake.statfs = of.statfs.then(Statfs::default);
    let directory = of.directory.as_ref();
    fake.directory = directory
        .map(|all| all.iter().map(|(inode, of)| (*inode, of[..of.len().min(255)].to_vec())).collect());
    fake.position = of.position;
    fake.descriptors.clone_from(&of.descriptors);
    fake.answers = of.answers.iter().copied().collect();
    let (mode, uid, gid, id) = of.status;
    fake.status = FileStatus { mode, uid, gid, id };
    let kinds = [Pseudo::Proc, Pseudo::Sysfs, Pseudo::Dev, Pseudo::Devpts, Pseudo::Empty];
    fake.mounts =
        of.mounts.iter().map(|(path, kind)| (path.clone(), kinds[usize::from(*kind) % 5])).collect();
    fake.log.text.clone_from(&of.log);
    fake.log.unread = of.log.iter().copied().collect();
    fake
}

fuzz_target!(|bytes: &[u8]| {
    let mut from = Unstructured::new(bytes);
    let Ok(of) = Guest::arbitrary(&mut from) else { return };
    let zone = &ZONES[usize::from(of.zone) % ZONES.len()];
    let mut fake = guest(&of, &zone.world, from.take_rest());
    for (which, args) in of.calls.iter().take(8) {
        let (abi, nr) = zone.calls[usize::from(*which) % zone.calls.len()];
        let call = Call { abi, nr, args: std::array::from_fn(|i| args[i].value()), ip: 0x1000 };
        let answered = zone.compiled.answer(&mut fake, &call);
        zone.compiled.done(&call, &answered);
    }
});
