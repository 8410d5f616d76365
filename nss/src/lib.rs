//! `hosts: files zones dns` in nsswitch.conf(5): names and addresses of live zones, from the file that zoned keeps for it.
//!
//! Any program of the host has this in its memory, set-user-id ones too. So it reads one file at a fixed place, keeps
//! nothing, and asks nobody.

mod answer;
mod hosts;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use answer::{Buffer, Status};
use hosts::{Entry, entries};

/// What the C library is given; the same as `zoned --run /run/zoned` writes.
const FILE: &str = "/run/zoned/hosts";

/// Values of netdb.h.
const HOST_NOT_FOUND: c_int = 1;
const NETDB_INTERNAL: c_int = -1;

/// Where a function of the switch puts its result, and why there is none.
#[derive(Clone, Copy)]
struct Out {
    result: *mut libc::hostent,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
}

impl Out {
    /// # Safety
    /// As the C library calls (nss(5) of its manual): `result` and the two errors can be written, and so can `length`
    /// bytes of `buffer`.
    unsafe fn give(self, found: Option<(&Entry<'_>, c_int, &[IpAddr])>) -> Status {
        let (status, errno, h_errno) = match found {
            None => (Status::NotFound, libc::ENOENT, HOST_NOT_FOUND),
            Some((entry, family, addresses)) => {
                // SAFETY: the caller's promise.
                let mut buffer = unsafe { Buffer::new(self.buffer, self.length) };
                match buffer.host(entry, family, addresses) {
                    Some(host) => {
                        // SAFETY: the caller's promise.
                        unsafe { self.result.write(host) };
                        return Status::Success;
                    }
                    None => (Status::TryAgain, libc::ERANGE, NETDB_INTERNAL),
                }
            }
        };
        // SAFETY: the caller's promise.
        unsafe { self.errno.write(errno) };
        // SAFETY: the caller's promise.
        unsafe { self.h_errno.write(h_errno) };
        status
    }
}

fn text() -> String {
    std::fs::read_to_string(FILE).unwrap_or_default()
}

/// gethostbyname2(3) by the switch.
///
/// # Safety
/// See [`Out::give`]; `name` is a text of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_zones_gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    result: *mut libc::hostent,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let out = Out { result, buffer, length, errno, h_errno };
    let text = text();
    let mut all = entries(&text).into_iter();
    let entry = name.to_str().ok().and_then(|name| all.find(|entry| entry.is_called(name)));
    let addresses = entry.as_ref().map(|entry| entry.of_family(family)).unwrap_or_default();
    let found = entry.as_ref().filter(|_| !addresses.is_empty()).map(|e| (e, family, addresses.as_slice()));
    // SAFETY: the caller's promise.
    unsafe { out.give(found) }
}

/// gethostbyname(3) by the switch.
///
/// # Safety
/// See [`Out::give`]; `name` is a text of C.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_zones_gethostbyname_r(
    name: *const c_char,
    result: *mut libc::hostent,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe { _nss_zones_gethostbyname2_r(name, libc::AF_INET, result, buffer, length, errno, h_errno) }
}

/// gethostbyaddr(3) by the switch.
///
/// # Safety
/// See [`Out::give`]; `address` is `size` bytes long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_zones_gethostbyaddr_r(
    address: *const c_void,
    size: libc::socklen_t,
    family: c_int,
    result: *mut libc::hostent,
    buffer: *mut c_char,
    length: usize,
    errno: *mut c_int,
    h_errno: *mut c_int,
) -> Status {
    let out = Out { result, buffer, length, errno, h_errno };
    let wanted = match (family, size) {
        // SAFETY: the caller's promise: it is as long as it says.
        (libc::AF_INET, 4) => Some(IpAddr::V4(Ipv4Addr::from(unsafe { address.cast::<[u8; 4]>().read() }))),
        (libc::AF_INET6, 16) => {
            // SAFETY: the caller's promise: it is as long as it says.
            Some(IpAddr::V6(Ipv6Addr::from(unsafe { address.cast::<[u8; 16]>().read() })))
        }
        _ => None,
    };
    let text = text();
    let entry = wanted.and_then(|wanted| entries(&text).into_iter().find(|e| e.addresses.contains(&wanted)));
    let addresses: Vec<IpAddr> = wanted.into_iter().collect();
    // SAFETY: the caller's promise.
    unsafe { out.give(entry.as_ref().map(|entry| (entry, family, addresses.as_slice()))) }
}
