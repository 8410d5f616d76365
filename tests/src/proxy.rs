//! A way out of a test's own network namespace to a Debian mirror, and no further: an HTTP proxy that listens in there and
//! asks from the host.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// Longest head of a request.
const HEAD: u64 = 64 * 1024;

/// A proxy; dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    at: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// The network namespace that it listens in.
    namespace: Arc<File>,
}

/// Does `work` on a thread in a network namespace.
fn within<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).context("enter a network namespace")?;
            work()
        });
        there.join().unwrap_or_else(|_| bail!("the thread in the network namespace panicked"))
    })
}

impl Proxy {
    /// Listens at `at` in the network namespace that the file at `path` stands for.
    pub fn start(path: &Path, at: SocketAddr) -> Result<Self> {
        let path = path.display();
        let namespace = Arc::new(File::open(path.to_string()).with_context(|| format!("open {path}"))?);
        let bind = || TcpListener::bind(at).with_context(|| format!("listen at {at}"));
        let listener = within(&namespace, bind)?;
        let at = listener.local_addr().context("ask for the address")?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::Acquire) {
                    break;
                }
                thread::spawn(move || {
                    if let Err(error) = serve(&client) {
                        eprintln!("proxy: {error:#}");
                    }
                });
            }
        });
        Ok(Self { at, over, thread: Some(thread), namespace })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes it from its wait for a client.
        let at = self.at;
        let woken = within(&self.namespace, || Ok(TcpStream::connect_timeout(&at, Duration::from_secs(5))?));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// One request of a client: `GET http://HOST[:PORT]/PATH HTTP/1.1`.
fn serve(client: &TcpStream) -> Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    let mut limited = reader.by_ref().take(HEAD);
    while limited.read_line(&mut head).context("read a request")? > 2 {}
    if head.is_empty() {
        return Ok(());
    }
    let (first, rest) = head.split_once("\r\n").context("a request without an end of line")?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method @ ("GET" | "HEAD"), url, _] = words[..] else {
        bail!("{first}: only GET of a URL is served")
    };
    let url = url.strip_prefix("http://").with_context(|| format!("{first}: no http URL"))?;
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut server = TcpStream::connect(&address).with_context(|| format!("connect to {address}"))?;
    write!(server, "{method} /{path} HTTP/1.1\r\nConnection: close\r\n").context("ask")?;
    let others = rest.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    for line in others {
        write!(server, "{line}\r\n").context("ask")?;
    }
    ensure!(head.ends_with("\r\n\r\n"), "{first}: its head is longer than {HEAD} bytes");
    // One answer to a connection: what else the client sent, it sends again on the next.
    copy(&mut server, &mut &*client).context("pass on the answer")?;
    let _ = client.shutdown(Shutdown::Write);
    Ok(())
}
