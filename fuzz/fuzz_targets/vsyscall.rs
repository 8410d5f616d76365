//! Code of a guest in which uses of the vsyscall page are looked for, and rewritten.
#![no_main]

use brands::vsyscall::{self, PLACES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|code: &[u8]| {
    let mut sites = Vec::new();
    vsyscall::sites(code, &mut |site| sites.push(site));
    for site in &sites {
        let there = &code[site.offset..site.offset + site.form.size()];
        assert!(there == &site.original()[..site.form.size()], "{site:?}");
        assert!(site.rewritten(PLACES[0]) != site.original());
    }
    assert!(sites.windows(2).all(|pair| pair[0].address_offset() < pair[1].address_offset()));
});
