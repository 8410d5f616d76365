//! The host's resolvers, asked in the name of zones.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where the host's resolvers stand (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many of them count (MAXNS of resolv.h).
const MOST: usize = 3;
const PORT: u16 = 53;
/// How long one may take: a guest asks again after five seconds (resolv.conf(5)).
const PATIENCE: Duration = Duration::from_secs(2);
/// The largest message.
const LARGEST: usize = u16::MAX as usize;

/// Whom to ask.
#[derive(Debug)]
pub(super) struct Upstream {
    /// Those of the settings; none: the host's own.
    named: Vec<IpAddr>,
}

impl Upstream {
    pub(super) fn new(named: Vec<IpAddr>) -> Self {
        Self { named }
    }

    fn resolvers(&self) -> Vec<SocketAddr> {
        let found = if self.named.is_empty() {
            // Read each time: the host's network may have become another.
            name_servers(&fs::read_to_string(RESOLV_CONF).unwrap_or_default())
        } else {
            self.named.clone()
        };
        found.into_iter().map(|address| SocketAddr::new(address, PORT)).collect()
    }

    /// The answer to a request; `None` where nobody gives one.
    pub(super) async fn by_udp(&self, request: &[u8]) -> Option<Vec<u8>> {
        for resolver in self.resolvers() {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask_by_udp(resolver, request)).await {
                return Some(answer);
            }
        }
        None
    }

    /// The same by a connection, as for what is too long for UDP.
    pub(super) async fn by_tcp(&self, request: &[u8]) -> Option<Vec<u8>> {
        for resolver in self.resolvers() {
            if let Ok(Ok(answer)) = timeout(PATIENCE, ask_by_tcp(resolver, request)).await {
                return Some(answer);
            }
        }
        None
    }
}

pub(super) fn name_servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    // Those with a zone, as of a link-local address, are the host's to reach.
    let mut found: Vec<IpAddr> = lines.filter_map(|word| word.parse().ok()).take(MOST).collect();
    if found.is_empty() {
        // What resolv.conf(5) says of a file without them.
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found
}

/// From a port that nobody can guess, under a number that is not the guest's choice.
async fn ask_by_udp(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if resolver.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    let (theirs, rest) = request.split_at_checked(2).ok_or(io::ErrorKind::InvalidInput)?;
    let own = uuid::Uuid::new_v4();
    let own = &own.as_bytes()[..2];
    socket.send(&[own, rest].concat()).await?;
    let mut answer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut answer).await?;
        // A late answer to nobody's question is passed over.
        if length >= 12 && answer[..2] == *own {
            answer.truncate(length);
            answer[..2].copy_from_slice(theirs);
            return Ok(answer);
        }
    }
}

async fn ask_by_tcp(resolver: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(request.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut stream = TcpStream::connect(resolver).await?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_as_its_page_says() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \n\
                    nameserver fe80::1%eth0\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
        let found: Vec<String> = name_servers(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1", "192.0.2.3"]);
        assert_eq!(name_servers("nameserver x\n"), [IpAddr::from([127, 0, 0, 1])]);
    }

    #[tokio::test]
    async fn an_answer_comes_back_under_the_guests_number() {
        let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = resolver.local_addr().unwrap();
        let request = [7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let answering = async {
            let mut buffer = [0; 512];
            let (length, from) = resolver.recv_from(&mut buffer).await.unwrap();
            // One that is not for us, then ours.
            resolver.send_to(&[!buffer[0], buffer[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], from).await.unwrap();
            buffer[2] |= 0x80;
            resolver.send_to(&buffer[..length], from).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask_by_udp(at, &request), answering);
        assert_eq!(answer.unwrap(), [7, 7, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
}
