//! A struct hostent in the caller's buffer.

use std::ffi::{c_char, c_int};
use std::net::IpAddr;
use std::ptr;

use crate::hosts::Entry;

/// enum nss_status of nss.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Status {
    /// There is not enough room; with ERANGE the C library tries again with more.
    TryAgain = -2,
    /// There is no such name.
    NotFound = 0,
    /// The result is there.
    Success = 1,
}

/// The room that a caller gives.
pub(crate) struct Buffer {
    at: *mut u8,
    left: usize,
}

impl Buffer {
    /// # Safety
    /// `length` bytes from `start` on can be written for as long as this is used.
    pub(crate) unsafe fn new(start: *mut c_char, length: usize) -> Self {
        Self { at: start.cast(), left: length }
    }

    /// A place for `count` of `T`, or nothing where there is no room.
    fn place<T>(&mut self, count: usize) -> Option<*mut T> {
        let gap = self.at.align_offset(align_of::<T>());
        let size = size_of::<T>().checked_mul(count)?.checked_add(gap)?;
        self.left = self.left.checked_sub(size)?;
        let place = self.at.wrapping_add(gap);
        self.at = self.at.wrapping_add(size);
        Some(place.cast())
    }

    fn put<T: Copy>(&mut self, values: &[T]) -> Option<*mut T> {
        let place = self.place::<T>(values.len())?;
        // SAFETY: the place is aligned, within what `new` was promised, and nobody else's.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), place, values.len()) };
        Some(place)
    }

    fn text(&mut self, text: &str) -> Option<*mut c_char> {
        let place = self.put(&[text.as_bytes(), &[0]].concat())?;
        Some(place.cast())
    }

    /// The answer of one family (gethostbyname(3)).
    pub(crate) fn host(
        &mut self,
        entry: &Entry<'_>,
        family: c_int,
        addresses: &[IpAddr],
    ) -> Option<libc::hostent> {
        let name = self.text(entry.name)?;
        let alias = self.text(entry.alias)?;
        let mut list: Vec<*mut c_char> = Vec::with_capacity(addresses.len() + 1);
        for address in addresses {
            let place = match address {
                IpAddr::V4(address) => self.put(&address.octets())?,
                IpAddr::V6(address) => self.put(&address.octets())?,
            };
            list.push(place.cast());
        }
        list.push(ptr::null_mut());
        let aliases = self.put(&[alias, ptr::null_mut()])?;
        let list = self.put(&list)?;
        let size = if family == libc::AF_INET { 4 } else { 16 };
        Some(libc::hostent {
            h_name: name,
            h_aliases: aliases,
            h_addrtype: family,
            h_length: size,
            h_addr_list: list,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let entry = Entry {
            name: "web.zones.internal",
            alias: "web",
            addresses: vec!["10.88.1.1".parse().unwrap(), "10.88.1.2".parse().unwrap()],
        };
        let mut fits = false;
        for (length, offset) in (0..160).flat_map(|length| (0..8).map(move |offset| (length, offset))) {
            let mut room = vec![0xaa_u8; offset + length + 16];
            // SAFETY: the room has that many bytes behind the offset.
            let mut buffer = unsafe { Buffer::new(room.as_mut_ptr().wrapping_add(offset).cast(), length) };
            let host = buffer.host(&entry, libc::AF_INET, &entry.addresses);
            assert!(room[offset + length..].iter().all(|byte| *byte == 0xaa), "{length} {offset}");
            let Some(host) = host else { continue };
            fits = true;
            // SAFETY: the answer is in the room, which is still there.
            let name = unsafe { CStr::from_ptr(host.h_name) };
            assert_eq!(name.to_str(), Ok("web.zones.internal"));
            // SAFETY: likewise; the list has two addresses.
            let second = unsafe { host.h_addr_list.wrapping_add(1).read() };
            // SAFETY: likewise; an address of IPv4 has four bytes.
            assert_eq!(unsafe { second.cast::<[u8; 4]>().read() }, [10, 88, 1, 2]);
            // SAFETY: likewise; the list ends with a null.
            assert!(unsafe { host.h_addr_list.wrapping_add(2).read() }.is_null());
        }
        assert!(fits);
    }
}
