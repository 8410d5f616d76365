//! Objects of rtnetlink(7), as the kernel tells of interfaces that a guest made.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| zoned::network::fuzz::object(bytes));
