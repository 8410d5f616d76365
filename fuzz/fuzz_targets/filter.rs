//! Filters: what the compiler makes of any entries does what they say.
#![no_main]

use brands::abi::Abi;
use brands::call::Call;
use brands::engine::{Compiled, expected};
use brands::interp::{self, Data};
use brands::level::Level;
use brands::platform::Request;
use brands::table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|of: (u8, u8, bool, bool, u32, [u64; 6])| {
    let (major, minor, strict, is_i386, nr, args) = of;
    let request = Request {
        level: Level::parse_release(&format!("{}.{minor}.0", 2 + major % 6)).ok(),
        host_release: "6.18.2".to_owned(),
        strict,
        ..Request::default()
    };
    let brand = table::brand("linux").expect("it is there");
    let world = brand.platform(&request).world;
    let compiled = Compiled::new(brand, &world).expect("it compiles");
    let Some(program) = compiled.program() else { return };
    let abi = if is_i386 { Abi::I386 } else { Abi::X86_64 };
    let call = Call { abi, nr, args, ip: 0 };
    let found = interp::run(program, &Data { nr, arch: abi.audit_arch(), ip: 0, args }).expect("it ends").ret;
    assert_eq!(found, expected(brand, &world, &call).ret(), "{call:x?}");
});
