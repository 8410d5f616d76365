//! A blocking client of zoned: one connection a call, on a runtime of the calling thread.

mod http;
mod session;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use session::Session;

use crate::{
    ApiError, Attach, Attached, Boot, Brand, CloneZone, Cloned, CommitZone, Create, DiskUse, Edit, Edited,
    Finding, Image, ImageDetails, ImportImage, Install, LedgerEntry, LogLine, Login, Move, NewSnapshot,
    ProfileChange, Progress, Pruned, Run, Shutdown, Snapshot, Verified, VerifiedImages, VerifyImages, Zone,
};
use http::{Body, Method, Request, answer_json, answer_text};

/// Where zoned listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/zoned/zoned.sock";

/// Result of a call.
pub type Result<T> = std::result::Result<T, ApiError>;

/// Where a zoned is. Making one does nothing; each call connects anew.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// A path below `/v1`, its parts encoded.
fn path(parts: &[&str]) -> String {
    let mut path = String::from("/v1");
    for part in parts {
        path.push('/');
        encode(part, &mut path);
    }
    path
}

/// A path of a zone.
fn of(zone: &str, rest: &[&str]) -> String {
    path(&[&["zones", zone], rest].concat())
}

/// RFC 3986, section 2.3: all but the unreserved is `%XX`.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(char::from(byte))
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn query(mut path: String, key: &str, value: &str) -> String {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(key);
    path.push('=');
    encode(value, &mut path);
    path
}

fn force(path: String, force: bool) -> String {
    if force { query(path, "force", "true") } else { path }
}

/// Every method fails with the [`ApiError`] that zoned sent, or with one of the client's own where zoned
/// cannot be reached, may not be, or went away.
impl Client {
    /// A client of the zoned that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn text(&self, method: Method, path: &str, body: Body) -> Result<String> {
        answer_text(&http::call(&self.socket, Request { method, path, body })?)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str, body: Body) -> Result<T> {
        answer_json(path, &http::call(&self.socket, Request { method, path, body })?)
    }

    /// A call whose answer says nothing beyond that it was done.
    fn done(&self, method: Method, path: &str, body: Body) -> Result<()> {
        http::call(&self.socket, Request { method, path, body }).map(drop)
    }

    /// All zones, or those that have a number.
    pub fn zones(&self, all: bool) -> Result<Vec<Zone>> {
        let path = path(&["zones"]);
        let path = if all { query(path, "all", "true") } else { path };
        self.json(Method::GET, &path, Body::None)
    }

    /// One zone.
    pub fn zone(&self, name: &str) -> Result<Zone> {
        self.json(Method::GET, &of(name, &[]), Body::None)
    }

    /// Configures a zone.
    pub fn create(&self, create: &Create) -> Result<()> {
        self.done(Method::POST, &path(&["zones"]), Body::json(create)?)
    }

    /// Forgets a zone; with force halts and uninstalls it first.
    pub fn delete(&self, name: &str, forced: bool) -> Result<()> {
        self.done(Method::DELETE, &force(of(name, &[]), forced), Body::None)
    }

    /// The configuration as TOML.
    pub fn config(&self, name: &str) -> Result<String> {
        self.text(Method::GET, &of(name, &["config"]), Body::None)
    }

    /// Replaces the configuration.
    pub fn put_config(&self, name: &str, toml: &str) -> Result<Edited> {
        let body = Body::Whole { kind: "application/toml", bytes: toml.as_bytes().to_vec() };
        self.json(Method::PUT, &of(name, &["config"]), body)
    }

    /// Changes the configuration, all of the edits or none.
    pub fn edit(&self, name: &str, edits: &[Edit]) -> Result<Edited> {
        self.json(Method::PATCH, &of(name, &["config"]), Body::json(edits)?)
    }

    /// One value as text; without a key the whole as TOML, defaults included.
    pub fn get(&self, name: &str, key: Option<&str>) -> Result<String> {
        let path = of(name, &["get"]);
        let path = if let Some(key) = key { query(path, "key", key) } else { path };
        self.text(Method::GET, &path, Body::None)
    }

    /// Whether it would boot.
    pub fn verify(&self, name: &str) -> Result<Verified> {
        self.json(Method::POST, &of(name, &["verify"]), Body::None)
    }

    /// Fills the root from a source that zoned opens; `progress` is told each step but the last.
    pub fn install(&self, name: &str, source: &str, progress: impl FnMut(Progress)) -> Result<()> {
        let body = Body::json(&Install { source: source.to_owned() })?;
        self.stream(Method::POST, &of(name, &["install"]), body, progress)
    }

    /// Fills the root from an archive that is sent along; `source` is its kind, as `tar:-`.
    pub fn install_from(
        &self,
        name: &str,
        source: &str,
        archive: impl Read + Send + 'static,
        progress: impl FnMut(Progress),
    ) -> Result<()> {
        let path = query(of(name, &["install"]), "source", source);
        self.stream(Method::POST, &path, Body::Stream(Box::new(archive)), progress)
    }

    /// Images by name.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.json(Method::GET, &path(&["images"]), Body::None)
    }

    /// One image.
    pub fn image(&self, name: &str) -> Result<ImageDetails> {
        self.json(Method::GET, &path(&["images", name]), Body::None)
    }

    /// Takes an image's name away.
    pub fn remove_image(&self, name: &str) -> Result<()> {
        self.done(Method::DELETE, &path(&["images", name]), Body::None)
    }

    /// Brings an image in from a source that zoned opens.
    pub fn import_image(&self, import: &ImportImage, progress: impl FnMut(Progress)) -> Result<()> {
        self.stream(Method::POST, &path(&["images"]), Body::json(import)?, progress)
    }

    /// The same from an archive that is sent along.
    pub fn import_image_from(
        &self,
        import: &ImportImage,
        archive: impl Read + Send + 'static,
        progress: impl FnMut(Progress),
    ) -> Result<()> {
        let path = query(path(&["images"]), "source", &import.source);
        let path = if let Some(name) = &import.name { query(path, "name", name) } else { path };
        self.stream(Method::POST, &path, Body::Stream(Box::new(archive)), progress)
    }

    /// Makes an image of what a zone wrote.
    pub fn commit(&self, zone: &str, commit: &CommitZone, progress: impl FnMut(Progress)) -> Result<()> {
        self.stream(Method::POST, &of(zone, &["commit"]), Body::json(commit)?, progress)
    }

    /// Writes an image to `to`, as an archive of `kind`, `oci` or `docker`.
    pub fn export_image(
        &self,
        name: &str,
        kind: &str,
        reference: Option<&str>,
        compression: Option<&str>,
        to: &mut dyn std::io::Write,
    ) -> Result<()> {
        let mut path = query(path(&["images", name, "export"]), "kind", kind);
        for (key, value) in [("reference", reference), ("compression", compression)] {
            if let Some(value) = value {
                path = query(path, key, value);
            }
        }
        http::call_bytes(&self.socket, Request { method: Method::GET, path: &path, body: Body::None }, to)
    }

    /// Removes what no image and no zone needs; with `dry` tells it only.
    pub fn prune_images(&self, dry: bool) -> Result<Pruned> {
        let path = path(&["prune-images"]);
        let path = if dry { query(path, "dry", "true") } else { path };
        self.json(Method::POST, &path, Body::None)
    }

    /// Holds images against their digests.
    pub fn verify_images(
        &self,
        verify: &VerifyImages,
        mut progress: impl FnMut(Progress),
    ) -> Result<VerifiedImages> {
        let (path, mut verified) = (path(&["verify-images"]), None);
        self.stream(Method::POST, &path, Body::json(verify)?, |told| match told {
            Progress::Verified(found) => verified = Some(found),
            other => progress(other),
        })?;
        verified.ok_or_else(|| http::gone(&path, "the answer does not say what was found"))
    }

    /// Writes a zone, or what changed in it since `base`, to `to`.
    pub fn send(
        &self,
        name: &str,
        snapshot: Option<&str>,
        base: Option<&str>,
        to: &mut dyn std::io::Write,
    ) -> Result<()> {
        let mut path = of(name, &["send"]);
        for (key, value) in [("snapshot", snapshot), ("base", base)] {
            if let Some(value) = value {
                path = query(path, key, value);
            }
        }
        http::call_bytes(&self.socket, Request { method: Method::GET, path: &path, body: Body::None }, to)
    }

    /// Makes the zone of a stream, or brings it forward.
    pub fn receive(
        &self,
        name: &str,
        forced: bool,
        stream: impl Read + Send + 'static,
        progress: impl FnMut(Progress),
    ) -> Result<()> {
        let path = force(of(name, &["receive"]), forced);
        self.stream(Method::POST, &path, Body::Stream(Box::new(stream)), progress)
    }

    /// A long operation that tells its progress, one JSON document a line.
    fn stream(
        &self,
        method: Method,
        path: &str,
        body: Body,
        mut progress: impl FnMut(Progress),
    ) -> Result<()> {
        let mut end = None;
        http::call_lines(&self.socket, Request { method, path, body }, |line| {
            match answer_json(path, line)? {
                Progress::Done => end = Some(Ok(())),
                Progress::Failed { error } => end = Some(Err(error)),
                other => progress(other),
            }
            Ok(())
        })?;
        end.unwrap_or_else(|| Err(http::gone(path, "the answer stopped before the operation ended")))
    }

    /// Empties the root.
    pub fn uninstall(&self, name: &str, forced: bool) -> Result<()> {
        self.done(Method::POST, &force(of(name, &["uninstall"]), forced), Body::None)
    }

    /// Boots.
    pub fn boot(&self, name: &str, boot: &Boot) -> Result<()> {
        self.done(Method::POST, &of(name, &["boot"]), Body::json(boot)?)
    }

    /// Makes the platform and starts nothing.
    pub fn ready(&self, name: &str, boot: &Boot) -> Result<()> {
        self.done(Method::POST, &of(name, &["ready"]), Body::json(boot)?)
    }

    /// Ends it at once.
    pub fn halt(&self, name: &str) -> Result<()> {
        self.done(Method::POST, &of(name, &["halt"]), Body::None)
    }

    /// Asks its init to end.
    pub fn shutdown(&self, name: &str, shutdown: &Shutdown) -> Result<()> {
        self.done(Method::POST, &of(name, &["shutdown"]), Body::json(shutdown)?)
    }

    /// Shuts every running zone down.
    pub fn shutdown_all(&self, shutdown: &Shutdown) -> Result<()> {
        self.done(Method::POST, "/v1/shutdown", Body::json(shutdown)?)
    }

    /// Halts and boots.
    pub fn reboot(&self, name: &str) -> Result<()> {
        self.done(Method::POST, &of(name, &["reboot"]), Body::None)
    }

    /// Keeps a zone's root under a name.
    pub fn snapshot(&self, zone: &str, name: &str) -> Result<Snapshot> {
        let new = NewSnapshot { name: name.to_owned() };
        self.json(Method::POST, &of(zone, &["snapshots"]), Body::json(&new)?)
    }

    /// A zone's snapshots, the oldest first.
    pub fn snapshots(&self, zone: &str) -> Result<Vec<Snapshot>> {
        self.json(Method::GET, &of(zone, &["snapshots"]), Body::None)
    }

    /// Forgets a snapshot.
    pub fn delete_snapshot(&self, zone: &str, name: &str) -> Result<()> {
        self.done(Method::DELETE, &of(zone, &["snapshots", name]), Body::None)
    }

    /// Gives a zone the root of a snapshot.
    pub fn rollback(&self, zone: &str, name: &str) -> Result<()> {
        self.done(Method::POST, &of(zone, &["snapshots", name, "rollback"]), Body::None)
    }

    /// Makes a zone whose root begins as another's.
    pub fn clone_zone(&self, from: &str, snapshot: Option<&str>, to: &str) -> Result<Cloned> {
        let clone = CloneZone { to: to.to_owned(), snapshot: snapshot.map(str::to_owned) };
        self.json(Method::POST, &of(from, &["clone"]), Body::json(&clone)?)
    }

    /// Where the disk went.
    pub fn disk_use(&self) -> Result<DiskUse> {
        self.json(Method::GET, "/v1/du", Body::None)
    }

    /// Puts a zone's own files into another folder.
    pub fn relocate(&self, name: &str, path: &str) -> Result<()> {
        self.done(Method::POST, &of(name, &["move"]), Body::json(&Move { path: path.to_owned() })?)
    }

    /// Lets go of a zone's folder; gives the manifest. With dry that is all.
    pub fn detach(&self, name: &str, dry: bool) -> Result<String> {
        let path = of(name, &["detach"]);
        let path = if dry { query(path, "dry", "true") } else { path };
        self.text(Method::POST, &path, Body::None)
    }

    /// Makes a zone's root of a folder that was detached.
    pub fn attach(&self, name: &str, attach: &Attach) -> Result<Attached> {
        self.json(Method::POST, &of(name, &["attach"]), Body::json(attach)?)
    }

    /// Presses Ctrl-Alt-Del.
    pub fn ctrl_alt_del(&self, name: &str) -> Result<()> {
        self.done(Method::POST, &of(name, &["ctrl-alt-del"]), Body::None)
    }

    /// A program in a running zone.
    pub fn login(&self, name: &str, login: &Login) -> Result<Session> {
        self.session(&of(name, &["login"]), login)
    }

    /// The console of a zone.
    pub fn console(&self, name: &str) -> Result<Session> {
        self.session(&of(name, &["console"]), &serde_json::json!({}))
    }

    /// A program in a zone that exists while it runs.
    pub fn run(&self, run: &Run) -> Result<Session> {
        self.session(&path(&["run"]), run)
    }

    /// Opens a session at a path.
    pub fn session(&self, path: &str, body: &impl serde::Serialize) -> Result<Session> {
        let body = serde_json::to_vec(body).map_err(|e| http::unsendable(&e))?;
        Session::open(&self.socket, path, &body)
    }

    /// What happened to a zone, oldest first.
    pub fn log(&self, name: &str) -> Result<Vec<LogLine>> {
        self.json(Method::GET, &of(name, &["log"]), Body::None)
    }

    /// What its brand did, by call.
    pub fn ledger(&self, name: &str) -> Result<Vec<LedgerEntry>> {
        self.json(Method::GET, &of(name, &["ledger"]), Body::None)
    }

    /// What live zones use; all of them when none is named.
    pub fn stat(&self, names: &[String]) -> Result<crate::stat::Sample> {
        let path = path(&["stat"]);
        let path = if names.is_empty() { path } else { query(path, "names", &names.join(",")) };
        self.json(Method::GET, &path, Body::None)
    }

    /// All figures in Prometheus' text format.
    pub fn metrics(&self) -> Result<String> {
        self.text(Method::GET, "/metrics", Body::None)
    }

    /// Events as they happen, and before them what the logs have since a time (seconds since 1970); ends with zoned.
    pub fn events(
        &self,
        names: &[String],
        since: Option<f64>,
        mut each: impl FnMut(crate::ZoneEvent) -> Result<()>,
    ) -> Result<()> {
        let path = path(&["events"]);
        let path = if names.is_empty() { path } else { query(path, "names", &names.join(",")) };
        let path = if let Some(since) = since { query(path, "since", &since.to_string()) } else { path };
        let request = Request { method: Method::GET, path: &path, body: Body::None };
        http::call_lines(&self.socket, request, |line| each(answer_json(&path, line)?))
    }

    /// What install changed in its own files.
    pub fn profile(&self, name: &str) -> Result<Vec<ProfileChange>> {
        self.json(Method::GET, &of(name, &["profile"]), Body::None)
    }

    /// Takes that back; gives what stays as it is, being changed since.
    pub fn undo_profile(&self, name: &str) -> Result<Vec<ProfileChange>> {
        self.json(Method::DELETE, &of(name, &["profile"]), Body::None)
    }

    /// Begins its ledger anew.
    pub fn reset_ledger(&self, name: &str) -> Result<()> {
        self.done(Method::DELETE, &of(name, &["ledger"]), Body::None)
    }

    /// Brands.
    pub fn brands(&self) -> Result<Vec<Brand>> {
        self.json(Method::GET, &path(&["brands"]), Body::None)
    }

    /// One brand with its table.
    pub fn brand(&self, name: &str) -> Result<Brand> {
        self.json(Method::GET, &path(&["brands", name]), Body::None)
    }

    /// What the host offers and lacks.
    pub fn doctor(&self) -> Result<Vec<Finding>> {
        self.json(Method::GET, &path(&["doctor"]), Body::None)
    }

    /// The OpenAPI document, as JSON.
    pub fn openapi(&self) -> Result<String> {
        self.text(Method::GET, &path(&["openapi.json"]), Body::None)
    }

    /// Version of zoned, as it says it.
    pub fn version(&self) -> Result<String> {
        self.text(Method::GET, &path(&["version"]), Body::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn names_and_values_cannot_leave_their_part_of_the_path() {
        assert_eq!(of("a/b c", &["log"]), "/v1/zones/a%2Fb%20c/log");
        assert_eq!(query(of("z", &["get"]), "key", "a&b=ü"), "/v1/zones/z/get?key=a%26b%3D%C3%BC");
        assert_eq!(query("/v1/x?a=b".into(), "c", "d"), "/v1/x?a=b&c=d");
        assert_eq!(force(of("z", &[]), true), "/v1/zones/z?force=true");
    }

    #[test]
    fn no_zoned_is_unreachable_with_a_hint() {
        let error = Client::new("/nonexistent/zoned.sock").zones(true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert!(error.hint.is_some());
        let error = Client::new("/nonexistent/zoned.sock").console("z").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        let long = format!("/{}", "x".repeat(300));
        assert_eq!(Client::new(long).zones(true).unwrap_err().kind, ErrorKind::Unreachable);
    }
}
