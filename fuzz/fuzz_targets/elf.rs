//! Programs: what a scan says of them, and what the monitor reads of those that a guest runs. A text of proc_pid_maps(5)
//! may come first.
#![no_main]

use std::fs::File;
use std::io::Write;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (maps, program) = match zones_fuzz::split(bytes) {
        (maps, program) if !program.is_empty() => (String::from_utf8_lossy(maps).into_owned(), program),
        (program, _) => (String::new(), program),
    };
    scan::look(program, "program");
    let folder = zones_fuzz::scratch();
    let path = folder.join("program");
    File::create(&path).and_then(|mut file| file.write_all(program)).expect("write a file");
    zoned::monitor::fuzz::program(program, &File::open(&path).expect("open it"), &maps);
    let _ = zoned::image::program_arch(&folder, "program".as_ref());
});
