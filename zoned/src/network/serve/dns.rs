//! DNS for zones: names of live zones are answered here, all others by the host's resolvers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::socket;
use super::turns::{Turn, Turns};
use super::upstream::Upstream;
use crate::network::Place;
use crate::network::names::Names;

const PORT: u16 = 53;
/// Seconds that an answer about a zone may be kept: zones come and go.
const TTL: u32 = 5;
/// What we take at once by UDP; requests are short.
const PAYLOAD: u16 = 1232;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// What all that serve zones' questions share.
#[derive(Debug)]
pub(super) struct Resolver {
    names: Mutex<Names>,
    upstream: Upstream,
    turns: Arc<Turns>,
}

/// What is to become of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer(Vec<u8>),
    AskOthers,
    Drop,
}

impl Resolver {
    pub(super) fn new(place: &Place) -> Arc<Self> {
        Arc::new(Self {
            names: Mutex::new(Names::new(place.clone())),
            upstream: Upstream::new(place.resolvers.clone()),
            turns: Turns::new(),
        })
    }

    /// Answers at one of the bridge's addresses, until it cannot any more.
    pub(super) async fn serve(self: Arc<Self>, at: IpAddr) -> io::Result<()> {
        let at = SocketAddr::new(at, PORT);
        let udp = Arc::new(UdpSocket::from_std(socket::udp(at, None)?)?);
        let tcp = TcpListener::from_std(socket::tcp(at)?)?;
        let mut buffer = [0; PAYLOAD as usize];
        loop {
            tokio::select! {
                received = udp.recv_from(&mut buffer) => {
                    let (length, from) = received?;
                    self.hear(&udp, &buffer[..length], from).await;
                }
                accepted = tcp.accept() => {
                    let (stream, from) = accepted?;
                    let Some(turn) = self.turn(from.ip()) else { continue };
                    tokio::spawn(Arc::clone(&self).converse(stream, turn));
                }
            }
        }
    }

    /// Whoever is not of the bridge's networks, the host among them, is a stranger and gets none.
    fn turn(&self, from: IpAddr) -> Option<Turn> {
        let is_near = {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            let place = names.place();
            place.subnet.holds(from) || place.subnet6.holds(from)
        };
        is_near.then(|| self.turns.take(from)).flatten()
    }

    async fn hear(self: &Arc<Self>, udp: &Arc<UdpSocket>, request: &[u8], from: SocketAddr) {
        let Some(turn) = self.turn(from.ip()) else { return };
        match self.verdict(request) {
            Verdict::Drop => {}
            // One that does not get through is asked for again.
            Verdict::Answer(answer) => drop(udp.send_to(&answer, from).await),
            Verdict::AskOthers => {
                let (resolver, udp, request) = (Arc::clone(self), Arc::clone(udp), request.to_vec());
                tokio::spawn(async move {
                    let answer = resolver.upstream.by_udp(&request).await;
                    if let Some(answer) = answer.or_else(|| failed(&request)) {
                        drop(udp.send_to(&answer, from).await);
                    }
                    drop(turn);
                });
            }
        }
    }

    /// Requests on a connection, each after its length (RFC 1035, 4.2.2).
    async fn converse(self: Arc<Self>, mut stream: TcpStream, turn: Turn) {
        while let Ok(Ok(length)) = timeout(IDLE, stream.read_u16()).await {
            let mut request = vec![0; length.into()];
            if !matches!(timeout(IDLE, stream.read_exact(&mut request)).await, Ok(Ok(_))) {
                break;
            }
            let answer = match self.verdict(&request) {
                Verdict::Answer(answer) => Some(answer),
                Verdict::AskOthers => self.upstream.by_tcp(&request).await.or_else(|| failed(&request)),
                Verdict::Drop => None,
            };
            let Some(answer) = answer else { break };
            let Ok(length) = u16::try_from(answer.len()) else { break };
            let whole = [&length.to_be_bytes(), answer.as_slice()].concat();
            if !matches!(timeout(IDLE, stream.write_all(&whole)).await, Ok(Ok(()))) {
                break;
            }
        }
        drop(turn);
    }

    pub(super) fn verdict(&self, request: &[u8]) -> Verdict {
        let Ok(request) = Message::from_vec(request) else { return Verdict::Drop };
        if request.metadata.message_type != MessageType::Query {
            return Verdict::Drop;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.refresh();
        verdict(&request, &names)
    }
}

/// `SERVFAIL` to a request.
pub(super) fn failed(request: &[u8]) -> Option<Vec<u8>> {
    let request = Message::from_vec(request).ok()?;
    answer(&request, ResponseCode::ServFail, Vec::new())
}

fn answer(request: &Message, code: ResponseCode, answers: Vec<Record>) -> Option<Vec<u8>> {
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.response_code = code;
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = code != ResponseCode::ServFail;
    reply.add_queries(request.queries.iter().cloned());
    reply.add_answers(answers);
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        reply.set_edns(edns);
    }
    reply.to_vec().ok()
}

fn verdict(request: &Message, names: &Names) -> Verdict {
    let say = |code, answers| answer(request, code, answers).map_or(Verdict::Drop, Verdict::Answer);
    let [query] = &request.queries[..] else { return say(ResponseCode::FormErr, Vec::new()) };
    if request.metadata.op_code != OpCode::Query {
        return say(ResponseCode::NotImp, Vec::new());
    }
    if query.query_class() != DNSClass::IN {
        return Verdict::AskOthers;
    }
    let kind = query.query_type();
    let record = |data| Record::from_rdata(query.name().clone(), TTL, data);
    let place = names.place();
    if let Ok(net) = query.name().parse_arpa_name() {
        let address = net.addr();
        if !place.subnet.holds(address) && !place.subnet6.holds(address) {
            return Verdict::AskOthers;
        }
        return match names.zone_at(address) {
            None => say(ResponseCode::NXDomain, Vec::new()),
            Some(zone) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                let name = Name::from_ascii(format!("{zone}.{}.", place.domain));
                let name = name.map(|name| record(RData::PTR(PTR(name))));
                say(ResponseCode::NoError, name.into_iter().collect())
            }
            Some(_) => say(ResponseCode::NoError, Vec::new()),
        };
    }
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let domain = place.domain.to_ascii_lowercase();
    let in_domain = name.strip_suffix(&domain).and_then(|rest| rest.strip_suffix('.'));
    let Some(addresses) = names.addresses(in_domain.unwrap_or(&name)) else {
        let is_plain = !name.contains('.') && matches!(kind, RecordType::A | RecordType::AAAA);
        return match in_domain {
            // Nobody else knows of our zones, nor are they to hear of them.
            Some(_) => say(ResponseCode::NXDomain, Vec::new()),
            None if name == domain => say(ResponseCode::NoError, Vec::new()),
            None if is_plain => say(ResponseCode::NXDomain, Vec::new()),
            None => Verdict::AskOthers,
        };
    };
    let records = addresses.into_iter().filter_map(|address| match address {
        IpAddr::V4(v4) if matches!(kind, RecordType::A | RecordType::ANY) => Some(record(RData::A(A(v4)))),
        IpAddr::V6(v6) if matches!(kind, RecordType::AAAA | RecordType::ANY) => {
            Some(record(RData::AAAA(AAAA(v6))))
        }
        _ => None,
    });
    say(ResponseCode::NoError, records.collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hickory_proto::op::Query;

    use super::*;
    use crate::network::{names, record};

    fn names_at(run: &Path) -> Names {
        let place = Place::of_test(run);
        let zone = run.join("web.1");
        std::fs::create_dir_all(&zone).unwrap();
        let addresses = vec!["10.88.1.1/16".into(), "fd00::5/64".into()];
        record::Record { addresses, ..record::Record::default() }.write(&zone).unwrap();
        names::write(&place, &record::all(run)).unwrap();
        Names::new(place)
    }

    fn ask(names: &Names, name: &str, kind: RecordType) -> Option<(ResponseCode, Vec<String>)> {
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        match verdict(&request, names) {
            Verdict::Answer(bytes) => {
                let reply = Message::from_vec(&bytes).unwrap();
                assert_eq!(reply.metadata.id, request.metadata.id);
                let data = reply.answers.iter().map(|record| record.data.to_string()).collect();
                Some((reply.metadata.response_code, data))
            }
            Verdict::AskOthers => None,
            Verdict::Drop => panic!("no answer"),
        }
    }

    #[test]
    fn zones_are_known_and_the_rest_is_asked_for() {
        use RecordType::{A, AAAA, MX, NS, PTR};
        use ResponseCode::{NXDomain, NoError};
        let dir = tempfile::tempdir().unwrap();
        let names = names_at(dir.path());
        let found = |text: &str| Some((NoError, vec![text.to_owned()]));
        assert_eq!(ask(&names, "web.1.", A), found("10.88.1.1"));
        assert_eq!(ask(&names, "WEB.1.Zones.Internal.", A), found("10.88.1.1"));
        assert_eq!(ask(&names, "web.1.zones.internal.", AAAA), found("fd00::5"));
        assert_eq!(ask(&names, "web.1.", MX), Some((NoError, vec![])));
        assert_eq!(ask(&names, "1.1.88.10.in-addr.arpa.", PTR), found("web.1.zones.internal."));
        assert_eq!(ask(&names, "2.1.88.10.in-addr.arpa.", PTR), Some((NXDomain, vec![])));
        assert_eq!(ask(&names, "nobody.zones.internal.", A), Some((NXDomain, vec![])));
        assert_eq!(ask(&names, "nobody.", AAAA), Some((NXDomain, vec![])));
        assert_eq!(ask(&names, "example.org.", A), None);
        assert_eq!(ask(&names, "com.", NS), None);
        assert_eq!(ask(&names, "4.3.2.192.in-addr.arpa.", PTR), None);
    }

    #[test]
    fn nonsense_is_dropped_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of_test(dir.path());
        let resolver = Resolver::new(&place);
        let mut request = Message::query();
        request.add_query(Query::query(Name::from_ascii("example.org.").unwrap(), RecordType::A));
        let bytes = request.to_vec().unwrap();
        for length in 0..bytes.len() {
            assert_eq!(resolver.verdict(&bytes[..length]), Verdict::Drop, "{length}");
        }
        assert_eq!(resolver.verdict(&bytes), Verdict::AskOthers);
        // An answer is no question.
        let mut reply = bytes.clone();
        reply[2] |= 0x80;
        assert_eq!(resolver.verdict(&reply), Verdict::Drop);
        // A name that points at itself.
        let mut request = bytes[..12].to_vec();
        request.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(resolver.verdict(&request), Verdict::Drop);
        assert!(resolver.turn("192.0.2.1".parse().unwrap()).is_none());
        assert!(resolver.turn("10.88.7.7".parse().unwrap()).is_some());
    }
}
