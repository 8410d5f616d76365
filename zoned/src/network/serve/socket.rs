//! Sockets of the bridge's services.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// A UDP socket at an address; with `device`, of what comes by that interface alone.
pub(super) fn udp(at: SocketAddr, device: Option<&str>) -> io::Result<std::net::UdpSocket> {
    let socket = new(at, Type::DGRAM, Protocol::UDP)?;
    if let Some(device) = device {
        // Beside servers on other interfaces.
        socket.set_reuse_address(true)?;
        socket.set_broadcast(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&at.into())?;
    Ok(socket.into())
}

/// A TCP listener at an address.
pub(super) fn tcp(at: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = new(at, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(64)?;
    Ok(socket.into())
}

fn new(at: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // A bridge's IPv6 address is tentative for as long as no port of it is up.
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    Ok(socket)
}

/// A raw socket for ICMPv6 on an interface.
pub(super) fn icmpv6(device: &str) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(device.as_bytes()))?;
    Ok(socket)
}
