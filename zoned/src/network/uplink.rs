//! The way from the bridge to the outside.

use std::fs;

use super::Place;
use super::link::Net;

const FORWARD4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
}

/// Whether the host is a router for IPv6.
pub(super) fn forwards6() -> bool {
    is_on(FORWARD6)
}

/// Lets the host forward packets, where zones are to reach the outside. It is not taken back: nobody can tell
/// who else came to count on it.
pub(super) fn forward(place: &Place, host: &mut Net) {
    if !place.nat {
        return;
    }
    if !is_on(FORWARD4)
        && let Err(error) = fs::write(FORWARD4, "1")
    {
        tracing::warn!(%error, "zones do not reach the outside: net.ipv4.ip_forward cannot be set");
    }
    if is_on(FORWARD6) || fs::metadata(FORWARD6).is_err() {
        return;
    }
    // A host that forwards believes no advertisement any more, and one that lives by them would lose its
    // own way out (accept_ra of ip-sysctl.rst).
    if host.is_advertised_to().unwrap_or(true) {
        tracing::warn!(
            "zones do not reach the outside by IPv6: this host learns its own router by advertisements, which it \
             would no longer heed; set net.ipv6.conf.IFACE.accept_ra=2 and net.ipv6.conf.all.forwarding=1"
        );
    } else if let Err(error) = fs::write(FORWARD6, "1") {
        tracing::warn!(%error, "zones do not reach the outside by IPv6: forwarding cannot be set");
    }
}
