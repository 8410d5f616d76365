//! Accepting connections, and knowing who is at their other end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OnceCell, watch};
use tokio::task::{JoinError, JoinSet};

use super::answer::Failure;
use super::body::Thorough;
use super::peer::Peer;
use super::places::{Full, Place, Places};
use super::routes;
use crate::lifecycle::Zones;

/// Bytes that the head of a request may have.
const LONGEST_HEAD: usize = 32 << 10;

/// Bytes of a connection's that wait to be read or written.
const BUFFER: usize = 128 << 10;

/// How long a connection may take to send the head of a request, or to send none.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long somebody has to ask who is then told that there is no place for him.
const COURTESY: Duration = Duration::from_secs(1);

/// How long it is remembered who a user is, and whether he is in the group.
const REMEMBERED: Duration = Duration::from_secs(2);

/// How long requests may go on after zoned was told to stop.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// Answers on `listener` until `stop`, then lets requests come to their end for a while.
///
/// # Errors
/// When nothing more can be accepted.
pub async fn serve(
    listener: UnixListener,
    zones: Arc<Zones>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let group = zones.settings().group.clone();
    let server = Arc::new(Server {
        router: routes::router(zones),
        group,
        places: Places::new(),
        known: Mutex::default(),
    });
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) if gone(&error) => continue,
                Err(error) if scarce(&error) => {
                    tracing::warn!(%error, "connections have to wait");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        connections.spawn(Arc::clone(&server).connection(stream, stopped.clone()));
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    stopping.send_replace(true);
    let ended =
        tokio::time::timeout(LAST_REQUESTS, async { while connections.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!("stopping with operations under way; the next zoned says which were cut off");
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted)
}

/// accept(2): no descriptors or memory now. epoll_ctl(2): as many are watched as one user may have watched (ENOSPC).
fn scarce(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC};
    error.raw_os_error().is_some_and(|code| [EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC].contains(&code))
}

struct Server {
    router: Router,
    group: String,
    places: Places,
    /// Who was looked up lately, by uid and gid: many connections of one user take one look.
    known: Mutex<HashMap<(u32, u32), Known>>,
}

struct Known {
    since: Instant,
    peer: Arc<OnceCell<Peer>>,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: UnixStream, mut stopped: watch::Receiver<bool>) {
        let Ok(credentials) = stream.peer_cred() else { return };
        let (peer, place) = match self.admit(credentials).await {
            Ok(admitted) => admitted,
            Err(full) => return self.turn_away(stream, credentials.uid(), full).await,
        };
        let inner = TowerToHyperService::new(self.router.clone());
        let place = Arc::new(place);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = inner.call(request.map(Thorough::new));
            // What a client began and left keeps its place: nobody has more under way than he has places.
            let place = Arc::clone(&place);
            let answered = tokio::spawn(async move {
                let answer = answer.await;
                drop(place);
                answer
            });
            async move { Ok::<_, JoinError>(answered.await?.unwrap_or_else(|never| match never {})) }
        });
        // Half-closed clients are served: a shell's pipe into nc(1) is one.
        let connection =
            http(PATIENCE).half_close(true).serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, uid = peer.uid, "a connection broke");
        }
    }

    /// Finds out who it is, and whether there is a place for him.
    async fn admit(self: &Arc<Self>, credentials: UCred) -> Result<(Peer, Place), Full> {
        let (uid, gid) = (credentials.uid(), credentials.gid());
        if let Some(peer) = Peer::known(uid) {
            return Ok((peer, self.places.take(peer)?));
        }
        let known = self.known(uid, gid);
        if let Some(peer) = known.get().copied() {
            return Ok((peer, self.places.take(peer)?));
        }
        let arrived = self.places.arrive(uid)?;
        let look = async || {
            let _turn = self.places.lookup().await;
            let server = Arc::clone(self);
            let peer = tokio::task::spawn_blocking(move || Peer::new(uid, gid, &server.group)).await;
            // Who could not be looked up is somebody who may only look.
            peer.unwrap_or(Peer { uid, trusted: false, named: false })
        };
        let peer = *known.get_or_init(look).await;
        drop(arrived);
        Ok((peer, self.places.take(peer)?))
    }

    fn known(&self, uid: u32, gid: u32) -> Arc<OnceCell<Peer>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = known.get(&(uid, gid)).filter(|one| one.since.elapsed() < REMEMBERED) {
            return Arc::clone(&one.peer);
        }
        known.retain(|_, one| one.since.elapsed() < REMEMBERED);
        let one = Known { since: Instant::now(), peer: Arc::default() };
        let peer = Arc::clone(&one.peer);
        known.insert((uid, gid), one);
        peer
    }

    /// Answers one request with a sentence; where too many are being told that, says it to whoever listens.
    async fn turn_away(&self, stream: UnixStream, uid: u32, full: Full) {
        tracing::debug!(uid, ?full, "there is no place for a connection");
        let Some(_turn) = self.places.turn_away() else {
            let error = Failure::busy("answer", full.why(uid)).into_body();
            let head =
                "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: application/json";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{error}", error.len());
            // What is left unread breaks the connection before this is read.
            stream.try_read(&mut [0; 4096]).ok();
            stream.try_write(answer.as_bytes()).ok();
            return;
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let what = format!("answer {} {}", request.method(), request.uri().path());
            let failure = Failure::busy(what, full.why(uid));
            std::future::ready(Ok::<Response, Infallible>(failure.into_response()))
        });
        let answered = http(COURTESY).keep_alive(false).serve_connection(TokioIo::new(stream), service);
        // Nor for long.
        tokio::time::timeout(COURTESY, answered).await.ok();
    }
}

fn http(patience: Duration) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience);
    http.max_header_size(LONGEST_HEAD).max_buf_size(BUFFER);
    http
}
