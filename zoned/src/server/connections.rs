//! Accepting connections, and knowing who is at their other end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::body::Thorough;
use super::peer::Peer;
use super::routes;
use crate::lifecycle::Zones;

/// Connections at once of a user who may only look, so that none can use up our descriptors.
const CONNECTIONS_PER_GUEST: usize = 32;

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
    let server = Arc::new(Server { router: routes::router(zones), group, guests: Mutex::default() });
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

/// accept(2): no descriptors or memory now.
fn scarce(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    error.raw_os_error().is_some_and(|code| [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&code))
}

struct Server {
    router: Router,
    group: String,
    /// Connections by uid of users who may only look.
    guests: Mutex<HashMap<u32, usize>>,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: UnixStream, mut stopped: watch::Receiver<bool>) {
        let Some(peer) = self.peer(&stream).await else { return };
        let Some(_place) = self.place(peer) else {
            tracing::warn!(uid = peer.uid, "a user has too many connections");
            return;
        };
        let inner = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            inner.call(request.map(Thorough::new))
        });
        // Half-closed clients are served: a shell's pipe into nc(1) is one.
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
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

    async fn peer(self: &Arc<Self>, stream: &UnixStream) -> Option<Peer> {
        let credentials = stream.peer_cred().ok()?;
        let server = Arc::clone(self);
        let look = move || Peer::new(credentials.uid(), credentials.gid(), &server.group);
        if credentials.uid() == 0 { Some(look()) } else { tokio::task::spawn_blocking(look).await.ok() }
    }

    fn place(self: &Arc<Self>, peer: Peer) -> Option<Place> {
        if !peer.trusted {
            let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
            let count = guests.entry(peer.uid).or_default();
            if *count >= CONNECTIONS_PER_GUEST {
                return None;
            }
            *count += 1;
        }
        Some(Place { server: Arc::clone(self), peer })
    }
}

/// One of the connections that a user may have.
struct Place {
    server: Arc<Server>,
    peer: Peer,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.peer.trusted {
            return;
        }
        let mut guests = self.server.guests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = guests.get_mut(&self.peer.uid) {
            *count -= 1;
            if *count == 0 {
                guests.remove(&self.peer.uid);
            }
        }
    }
}
