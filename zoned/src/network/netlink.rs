//! rtnetlink(7), as much of it as zones need: a message, its attributes, an answer.
//!
//! By hand and synchronous: a monitor has no async runtime, and these are a dozen messages.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};

/// Flags of messages (netlink(7)).
pub(super) const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// Length of struct nlmsghdr.
const HEADER: usize = 16;

/// struct ifinfomsg: an interface by number, and flags to set.
pub(super) fn ifinfo(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for word in [index, flags, change] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

/// Attributes, one after the other, each at a multiple of four (struct rtattr).
#[derive(Debug, Default, Clone)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// A text with its NUL.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        self.with(kind, &[text.as_bytes(), &[0]].concat())
    }

    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.with(kind, &number.to_ne_bytes())
    }

    pub(super) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.with(kind, &inner.0)
    }

    /// The same after a header of their own, as a veth's peer has it.
    pub(super) fn nest_after(self, kind: u16, header: &[u8], inner: &Self) -> Self {
        self.with(kind, &[header, &inner.0].concat())
    }
}

/// One object of an answer: the family's header, then attributes.
#[derive(Debug)]
pub(super) struct Object(pub(super) Vec<u8>);

impl Object {
    /// A 32-bit number of the header.
    pub(super) fn word(&self, at: usize) -> u32 {
        self.0.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    }

    pub(super) fn byte(&self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// The value of an attribute behind a header of `after` bytes.
    pub(super) fn attribute(&self, after: usize, kind: u16) -> Option<&[u8]> {
        find(self.0.get(after..)?, kind)
    }
}

/// The value of the first attribute of that kind.
pub(super) fn find(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    /// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the kind.
    const KIND: u16 = 0x3fff;
    while rest.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & KIND;
        let value = rest.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// A text of an attribute, without its NUL.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

/// A socket; it stays in the network namespace that it was opened in.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open() -> Result<Self, Errno> {
        let kind = (AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let fd = socket(kind.0, kind.1, kind.2, SockProtocol::NetlinkRoute)?;
        // A dump of many interfaces; what does not fit would be lost.
        let _ = setsockopt(&fd, sockopt::RcvBuf, &(1 << 20));
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends one order and waits for the kernel's answer to it.
    pub(super) fn order(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        attributes: &Attributes,
    ) -> Result<(), Errno> {
        self.send(kind, flags | libc::NLM_F_ACK as u16, header, attributes)?;
        self.receive(|_| {})
    }

    /// The object that the attributes name.
    pub(super) fn get(
        &mut self,
        kind: u16,
        header: &[u8],
        attributes: &Attributes,
    ) -> Result<Option<Object>, Errno> {
        self.send(kind, libc::NLM_F_ACK as u16, header, attributes)?;
        let mut found = None;
        self.receive(|object| found = Some(object))?;
        Ok(found)
    }

    /// All objects of a kind.
    pub(super) fn dump(&mut self, kind: u16, header: &[u8]) -> Result<Vec<Object>, Errno> {
        self.send(kind, DUMP, header, &Attributes::default())?;
        let mut found = Vec::new();
        self.receive(|object| found.push(object))?;
        Ok(found)
    }

    fn send(&mut self, kind: u16, flags: u16, header: &[u8], attributes: &Attributes) -> Result<(), Errno> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(HEADER + header.len() + attributes.0.len());
        message.extend(((HEADER + header.len() + attributes.0.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0_u32.to_ne_bytes());
        message.extend(header);
        message.extend(&attributes.0);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    /// Takes in messages up to the end of the answer.
    fn receive(&mut self, mut each: impl FnMut(Object)) -> Result<(), Errno> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let mut rest = &buffer[..length];
            while rest.len() >= HEADER {
                let word =
                    |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
                let size = word(0) as usize;
                let kind = i32::from(u16::from_ne_bytes([rest[4], rest[5]]));
                let ours = word(8) == self.sequence;
                let Some(body) = rest.get(HEADER..size) else { return Err(Errno::EBADMSG) };
                match kind {
                    _ if !ours => {}
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = body.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
                        return if code == 0 { Ok(()) } else { Err(Errno::from_raw(-code)) };
                    }
                    _ => each(Object(body.to_vec())),
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// A socket that receives something whenever interfaces come, go or change; it does not wait.
pub(super) fn changes_of_links() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_again() {
        let inner = Attributes::default().text(1, "veth");
        let all = Attributes::default().text(3, "eth0").number(10, 7).nest(18, &inner);
        assert_eq!(all.0.len() % 4, 0);
        assert_eq!(find(&all.0, 3).map(text).as_deref(), Some("eth0"));
        assert_eq!(find(&all.0, 10), Some(&7_u32.to_ne_bytes()[..]));
        let nested = find(&all.0, 18).and_then(|value| find(value, 1));
        assert_eq!(nested.map(text).as_deref(), Some("veth"));
        assert_eq!(find(&all.0, 99), None);
        // What is cut off or says a length of nothing does not hold anybody up.
        assert_eq!(find(&all.0[..6], 3), None);
        assert_eq!(find(&[0, 0, 1, 0, 0, 0], 1), None);
    }

    #[test]
    fn the_kernel_answers() {
        let mut socket = Socket::open().unwrap();
        let links = socket.dump(libc::RTM_GETLINK, &ifinfo(0, 0, 0)).unwrap();
        let names: Vec<String> =
            links.iter().filter_map(|l| l.attribute(16, libc::IFLA_IFNAME)).map(text).collect();
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
        let none = Attributes::default();
        let refused = socket.order(libc::RTM_DELLINK, 0, &ifinfo(i32::MAX as u32, 0, 0), &none);
        assert!(matches!(refused, Err(Errno::ENODEV | Errno::EPERM | Errno::EINVAL)), "{refused:?}");
    }
}
