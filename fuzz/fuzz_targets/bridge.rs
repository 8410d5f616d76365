//! Packets of guests on zoned's bridge: DHCP, DNS, router solicitations.
#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use zoned::network::serve::fuzz::Bridge;

thread_local! {
    static BRIDGE: OnceCell<Bridge> = const { OnceCell::new() };
}

fuzz_target!(|packet: &[u8]| {
    BRIDGE.with(|bridge| {
        let bridge = bridge.get_or_init(|| Bridge::new(&zones_fuzz::scratch()));
        bridge.dhcp(packet);
        bridge.dns(packet);
        bridge.icmp(packet);
    });
});
