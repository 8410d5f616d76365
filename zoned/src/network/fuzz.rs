//! What fuzz targets reach of this module.

use super::link::Link;
use super::netlink::{self, Object};

/// Reads an object of rtnetlink(7).
pub fn object(bytes: &[u8]) {
    netlink::find(bytes, 1).map(netlink::text);
    let object = Object(bytes.to_vec());
    object.byte(1);
    if let Some(link) = Link::of(&object) {
        link.is_bridge();
    }
}
