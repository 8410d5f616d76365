//! Texts of /proc and /sys, a guest's passwd and group, the host's resolv.conf.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    zoned::confine::fuzz::texts(text);
    zoned::monitor::fuzz::texts(text);
    zoned::network::serve::fuzz::resolv_conf(text);
    scan::vsyscall_mode(text);
    let [passwd, groups, wanted] = zones_fuzz::parts(text);
    zoned::confine::fuzz::users(passwd, groups, wanted);
});
