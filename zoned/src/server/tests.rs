use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use zone_api::{ApiError, ErrorKind, Progress, State, Zone};

use super::peer::Peer;
use super::{openapi, routes, serve};
use crate::lifecycle::fake::Place;

/// A server on a real socket.
struct Api {
    place: Place,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Api {
    fn new() -> Self {
        let place = Place::new();
        let socket = place.dir.path().join("run/zoned.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (stop, stopped) = oneshot::channel();
        let zones = place.zones.clone();
        let served = tokio::spawn(serve(listener, zones, async { drop(stopped.await) }));
        Self { place, socket, stop: Some(stop), served }
    }

    async fn send(&self, method: &str, path: &str, body: Body) -> hyper::Response<hyper::body::Incoming> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "zoned").body(body).unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn error(&self, method: &str, path: &str, body: Value) -> (u16, ApiError) {
        let (status, text) = self.call(method, path, body).await;
        (status, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    async fn install(&self, path: &str, body: Body) -> Vec<Progress> {
        let response = self.send("POST", path, body).await;
        assert_eq!(response.status(), 200);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        bytes.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
    }

    /// Sends a request for a session, with bytes right behind it, and reads the head of the answer.
    fn session(&self, path: &str, body: &str, behind: &str) -> (String, BufReader<UnixStream>) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: zoned\r\nConnection: Upgrade\r\nUpgrade: zones-session\r\n\
             Content-Length: {length}\r\n\r\n{body}{behind}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
        }
        (head, reader)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_install_boot_halt_delete() {
    let api = Api::new();
    let edits = json!([{"op": "set", "key": "kernel", "value": "2.6.18"}]);
    let (status, _) = api.call("POST", "/v1/zones", json!({"name": "a", "edits": edits})).await;
    assert_eq!(status, 201);
    assert_eq!(api.call("GET", "/v1/zones", Value::Null).await, (200, "[]".into()));
    let (_, all) = api.call("GET", "/v1/zones?all=true", Value::Null).await;
    let all: Vec<Zone> = serde_json::from_str(&all).unwrap();
    assert_eq!((all[0].name.as_str(), all[0].state), ("a", State::Configured));
    assert_eq!(api.call("GET", "/v1/zones?all", Value::Null).await.0, 200);

    let told = api.install("/v1/zones/a/install", Body::from(r#"{"source":"dir:/x"}"#)).await;
    assert_eq!(told.len(), 3);
    assert!(matches!(&told[0], Progress::Step { step, .. } if step == "unpacking"));
    assert_eq!(told[2], Progress::Done);
    let (status, error) = api.error("POST", "/v1/zones/a/install", json!({"source": "dir:/x"})).await;
    assert_eq!((status, error.kind), (409, ErrorKind::WrongState));

    assert_eq!(api.call("POST", "/v1/zones/a/boot", json!({"args": ["single"]})).await, (204, String::new()));
    let (status, error) = api.error("POST", "/v1/zones/a/boot", Value::Null).await;
    assert_eq!((status, error.kind, error.why.as_str()), (409, ErrorKind::WrongState, "zone a is running"));
    let (_, zone) = api.call("GET", "/v1/zones/a", Value::Null).await;
    let zone: Zone = serde_json::from_str(&zone).unwrap();
    assert_eq!((zone.state, zone.id), (State::Running, Some(1)));
    assert_eq!(api.call("POST", "/v1/zones/a/reboot", Value::Null).await.0, 204);
    assert_eq!(api.call("POST", "/v1/zones/a/shutdown", json!({"timeout": 0})).await.0, 204);
    assert_eq!(api.call("POST", "/v1/zones/a/ready", Value::Null).await.0, 204);
    assert_eq!(api.call("POST", "/v1/zones/a/halt", Value::Null).await.0, 204);
    let (_, log) = api.call("GET", "/v1/zones/a/log", Value::Null).await;
    assert!(log.contains("booted") && log.contains("installed from dir:/x"), "{log}");
    assert_eq!(api.call("DELETE", "/v1/zones/a", Value::Null).await.0, 409);
    assert_eq!(api.call("POST", "/v1/zones/a/uninstall?force=true", Value::Null).await.0, 204);
    assert_eq!(api.call("DELETE", "/v1/zones/a?force", Value::Null).await.0, 204);
    assert_eq!(api.error("GET", "/v1/zones/a", Value::Null).await.1.kind, ErrorKind::NoSuchZone);
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_over_the_wire() {
    let api = Api::new();
    let toml = "# mine\nname = \"a\"\n";
    assert_eq!(api.call("POST", "/v1/zones", json!({"name": "a", "toml": toml})).await.0, 201);
    assert_eq!(api.call("GET", "/v1/zones/a/config", Value::Null).await, (200, toml.into()));
    let edits = json!([{"op": "add", "resource": "fs", "properties": {"dir": "/d", "special": "/s"}}]);
    let (status, edited) = api.call("PATCH", "/v1/zones/a/config", edits).await;
    assert_eq!((status, edited.as_str()), (200, r#"{"live":[],"at_reboot":[]}"#));
    let (_, text) = api.call("GET", "/v1/zones/a/config", Value::Null).await;
    assert!(text.starts_with("# mine\n") && text.contains("[[fs]]\ndir = \"/d\""), "{text}");
    assert_eq!(api.call("GET", "/v1/zones/a/get?key=brand", Value::Null).await, (200, "linux".into()));
    assert_eq!(api.call("GET", "/v1/zones/a/get?key=kernel", Value::Null).await, (200, String::new()));
    let (_, whole) = api.call("GET", "/v1/zones/a/get", Value::Null).await;
    assert!(whole.contains("ip-type = \"exclusive\""), "{whole}");
    let (status, error) = api.error("GET", "/v1/zones/a/get?key=brnd", Value::Null).await;
    assert_eq!((status, error.why.as_str()), (400, "unknown key; did you mean brand?"));

    let unknown = json!([{"op": "set", "key": "kernl", "value": "2"}]);
    let (status, error) = api.error("PATCH", "/v1/zones/a/config", unknown).await;
    assert_eq!((status, error.kind), (400, ErrorKind::Invalid));
    assert_eq!(error.to_string(), "set kernl: unknown key; did you mean kernel?");
    let response = api.send("PUT", "/v1/zones/a/config", Body::from("name = \"a\"\n\ncolour = 1\n")).await;
    assert_eq!(response.status(), 400);
    let (_, verified) = api.call("POST", "/v1/zones/a/verify", Value::Null).await;
    assert_eq!(verified, r#"{"ok":true,"findings":[]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_an_error_in_json() {
    let api = Api::new();
    for (method, path, body, status, kind) in [
        ("GET", "/v1/nothing", Value::Null, 404, ErrorKind::Invalid),
        ("PUT", "/v1/zones", Value::Null, 405, ErrorKind::Invalid),
        ("POST", "/v1/zones", json!({"nam": "a"}), 400, ErrorKind::Invalid),
        ("POST", "/v1/zones", json!("x".repeat(2 << 20)), 413, ErrorKind::Invalid),
        ("POST", "/v1/zones", json!({"name": "global"}), 400, ErrorKind::Invalid),
        ("POST", "/v1/zones", json!({"name": "../etc"}), 400, ErrorKind::Invalid),
        ("GET", "/v1/zones/%ff", Value::Null, 400, ErrorKind::Invalid),
        ("GET", "/v1/zones/..%2F..%2Fetc", Value::Null, 404, ErrorKind::NoSuchZone),
        ("GET", "/v1/zones/no", Value::Null, 404, ErrorKind::NoSuchZone),
        ("POST", "/v1/zones/no/boot", Value::Null, 404, ErrorKind::NoSuchZone),
        ("POST", "/v1/zones/no/install", json!({"source": "dir:/x"}), 404, ErrorKind::NoSuchZone),
        ("POST", "/v1/zones/no/install", json!({}), 400, ErrorKind::Invalid),
        ("DELETE", "/v1/zones/no?force=perhaps", Value::Null, 400, ErrorKind::Invalid),
        ("POST", "/v1/zones/no/login", Value::Null, 426, ErrorKind::Invalid),
        ("GET", "/v1/brands/no", Value::Null, 404, ErrorKind::Invalid),
    ] {
        let (found, error) = api.error(method, path, body).await;
        assert_eq!((found, error.kind), (status, kind), "{method} {path}: {error}");
        assert!(!error.why.is_empty() && !error.why.ends_with('.'), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_comes_along_in_the_body() {
    let api = Api::new();
    api.call("POST", "/v1/zones", json!({"name": "a"})).await;
    let archive: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let told = api.install("/v1/zones/a/install?source=tar:-", Body::from(archive.clone())).await;
    assert_eq!(told.last(), Some(&Progress::Done));
    let root = api.place.dir.path().join("root/zones/a/root");
    assert!(std::fs::read(root.join("archive")).unwrap() == archive);

    // One that breaks off is no install, and leaves the zone as it was.
    api.call("POST", "/v1/zones", json!({"name": "b"})).await;
    let mut stream = UnixStream::connect(&api.socket).unwrap();
    stream
        .write_all(
            b"POST /v1/zones/b/install?source=tar:- HTTP/1.1\r\nHost: z\r\nContent-Length: 99\r\n\r\nhalf",
        )
        .unwrap();
    api.place.until("the install", |place| place.state("b") == State::Incomplete);
    drop(stream);
    api.place.until("its end", |place| place.zones.zone("b").unwrap().busy.is_none());
    assert_eq!(api.place.state("b"), State::Configured);
    let log = api.place.zones.log("b").unwrap();
    assert!(log[1].text.contains("the archive broke off on its way"), "{log:?}");

    // The reader gives up at once, the writer still hears why.
    let endless =
        futures_util::stream::iter((0..500).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![0; 64 << 10]))));
    let told = api.install("/v1/zones/b/install?source=fail", Body::from_stream(endless)).await;
    assert!(matches!(told.last(), Some(Progress::Failed { .. })), "{told:?}");

    // Nor is the reason lost where the archive is not even looked at.
    for _ in 0..20 {
        let archive = json!(["x".repeat(3 << 20)]);
        let (status, error) = api.error("POST", "/v1/zones/a/install?source=tar:-", archive).await;
        assert_eq!((status, error.why.as_str()), (409, "zone a is installed"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_goes_on_without_its_client() {
    let api = Api::new();
    api.call("POST", "/v1/zones", json!({"name": "a"})).await;
    api.place.fake.installs.close();
    let response = api.send("POST", "/v1/zones/a/install", Body::from(r#"{"source":"dir:/x"}"#)).await;
    assert_eq!(response.status(), 200);
    let (status, error) = api.error("POST", "/v1/zones/a/halt", Value::Null).await;
    assert_eq!((status, error.why.as_str()), (409, "zone a: install is under way"));
    drop(response);
    api.place.fake.installs.open();
    api.place.until("the install", |place| place.state("a") == State::Installed);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_leave_with_all_that_was_sent() {
    let api = Api::new();
    api.place.installed("a");
    let (head, mut reader) = api.session("/v1/zones/a/login", r#"{"command":["id"]}"#, "");
    assert!(head.starts_with("HTTP/1.1 409"), "{head}");
    let answer = String::from_utf8_lossy(reader.fill_buf().unwrap()).into_owned();
    assert!(answer.contains("wrong_state"), "{answer}");

    api.place.zones.boot("a", zone_api::Boot::default()).unwrap();
    for (path, body, zone) in [
        ("/v1/zones/a/login", r#"{"command":["id","-u"]}"#, "id -u"),
        ("/v1/zones/a/console", "{}", "console"),
    ] {
        let (head, mut reader) = api.session(path, body, "early\n");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.to_lowercase().contains("upgrade: zones-session"), "{head}");
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let started: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&started["event"], &started["zone"]), (&json!("started"), &json!(zone)));
        reader.get_mut().write_all(b"late\n").unwrap();
        line.clear();
        reader.read_line(&mut line).unwrap();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "early\nlate\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_over_the_wire() {
    let api = Api::new();
    let (head, _) = api.session("/v1/run", r#"{"edits":[],"binds":[],"login":{}}"#, "");
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let (head, mut reader) =
        api.session("/v1/run", r#"{"edits":[],"binds":[],"login":{"command":["true"]}}"#, "");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("{\"event\":\"exited\",\"status\":0}\n"), "{said}");
    api.place.until("its end", |place| place.zones.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_has_every_route() {
    let api = Api::new();
    let (status, text) = api.call("GET", "/v1/openapi.json", Value::Null).await;
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut routes: Vec<String> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    routes.sort();
    assert_eq!(
        routes,
        [
            "delete /v1/images/{name}",
            "delete /v1/zones/{name}",
            "delete /v1/zones/{name}/ledger",
            "delete /v1/zones/{name}/profile",
            "delete /v1/zones/{name}/snapshots/{snapshot}",
            "get /metrics",
            "get /v1/brands",
            "get /v1/brands/{brand}",
            "get /v1/doctor",
            "get /v1/du",
            "get /v1/events",
            "get /v1/images",
            "get /v1/images/{name}",
            "get /v1/images/{name}/export",
            "get /v1/openapi.json",
            "get /v1/stat",
            "get /v1/version",
            "get /v1/zones",
            "get /v1/zones/{name}",
            "get /v1/zones/{name}/config",
            "get /v1/zones/{name}/get",
            "get /v1/zones/{name}/ledger",
            "get /v1/zones/{name}/log",
            "get /v1/zones/{name}/profile",
            "get /v1/zones/{name}/send",
            "get /v1/zones/{name}/snapshots",
            "patch /v1/zones/{name}/config",
            "post /v1/images",
            "post /v1/prune-images",
            "post /v1/run",
            "post /v1/shutdown",
            "post /v1/verify-images",
            "post /v1/zones",
            "post /v1/zones/{name}/attach",
            "post /v1/zones/{name}/boot",
            "post /v1/zones/{name}/clone",
            "post /v1/zones/{name}/commit",
            "post /v1/zones/{name}/console",
            "post /v1/zones/{name}/ctrl-alt-del",
            "post /v1/zones/{name}/detach",
            "post /v1/zones/{name}/halt",
            "post /v1/zones/{name}/install",
            "post /v1/zones/{name}/login",
            "post /v1/zones/{name}/move",
            "post /v1/zones/{name}/ready",
            "post /v1/zones/{name}/reboot",
            "post /v1/zones/{name}/receive",
            "post /v1/zones/{name}/shutdown",
            "post /v1/zones/{name}/snapshots",
            "post /v1/zones/{name}/snapshots/{snapshot}/rollback",
            "post /v1/zones/{name}/uninstall",
            "post /v1/zones/{name}/verify",
            "put /v1/zones/{name}/config",
        ]
    );
    for schema in ["ApiError", "Zone", "Edit", "Boot", "Run", "Progress", "Finding", "Brand", "LogLine"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema} is not described");
    }
}

/// Every route as somebody who may only look, and as an admin of zone `a`.
#[tokio::test(flavor = "multi_thread")]
async fn rights() {
    let place = Place::new();
    place.installed("a");
    let router = TowerToHyperService::new(routes::router(place.zones.clone()));
    let status = async |peer: Peer, method: &str, path: &str| {
        let path = path.replace("{name}", "a").replace("{brand}", "linux").replace("{snapshot}", "s");
        let body = match (method, path.as_str()) {
            ("patch", _) => "[]",
            ("post", "/v1/zones/a/install") => r#"{"source":"dir:/x"}"#,
            ("post", "/v1/zones") => r#"{"name":"b"}"#,
            ("post", path) if path.ends_with("/snapshots") => r#"{"name":"b"}"#,
            ("post", path) if path.ends_with("/clone") => r#"{"to":"b"}"#,
            ("post", path) if path.ends_with("/move") || path.ends_with("/attach") => {
                r#"{"path":"/nowhere"}"#
            }
            ("post", path) if path.ends_with("/commit") => r#"{"image":"x"}"#,
            ("post", "/v1/images") => r#"{"source":"dir:/x"}"#,
            ("post", "/v1/verify-images") => "{}",
            _ => "",
        };
        let mut request = Request::builder()
            .method(method.to_uppercase().as_str())
            .uri(path)
            .header("upgrade", "zones-session")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(peer);
        router.call(request).await.unwrap().status().as_u16()
    };
    let document = serde_json::to_value(openapi()).unwrap();
    let guest = Peer { uid: 54_321, trusted: false, named: false };
    let open = [
        "/v1/zones",
        "/v1/stat",
        "/v1/brands",
        "/v1/brands/{brand}",
        "/v1/doctor",
        "/v1/version",
        "/v1/openapi.json",
    ];
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let expected = match (method.as_str(), open.contains(&path.as_str())) {
                ("get", true) => 200,
                _ => 403,
            };
            assert_eq!(status(guest, method, path).await, expected, "{method} {path}");
        }
    }
    assert_eq!(place.state("a"), State::Installed);

    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap().uid.as_raw();
    let delegate = Peer { uid: daemon, trusted: false, named: true };
    place.installed("other");
    let looks = ["", "/config", "/get", "/ledger", "/log", "/profile", "/snapshots"];
    for auths in ["login", "manage", "clonefrom", "login,manage"] {
        let admin = |op: fn(BTreeMap<String, String>) -> zone_api::Edit, auths: Option<&str>| {
            let mut properties = BTreeMap::from([("user".to_owned(), "daemon".to_owned())]);
            properties.extend(auths.map(|auths| ("auths".to_owned(), auths.to_owned())));
            place.zones.edit("a", &[op(properties)]).unwrap();
        };
        admin(|properties| zone_api::Edit::Add { resource: "admin".into(), properties }, Some(auths));
        let (login, manage) = (auths.contains("login"), auths.contains("manage"));
        let managed = if manage { 0 } else { 403 };
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let of_zone = path.strip_prefix("/v1/zones/{name}");
                let expected = match (method.as_str(), of_zone) {
                    ("get", Some(rest)) if looks.contains(&rest) => 200,
                    ("post", Some("/verify")) => 200,
                    (
                        "post",
                        Some("/boot" | "/ready" | "/halt" | "/shutdown" | "/reboot" | "/ctrl-alt-del"),
                    ) => managed,
                    ("delete", Some("/ledger")) => managed,
                    ("post", Some("/snapshots")) => managed,
                    // There is none of that name.
                    ("delete", Some("/snapshots/{snapshot}")) if manage => 404,
                    ("post", Some("/snapshots/{snapshot}/rollback")) if manage => 404,
                    ("get", None) if path == "/v1/du" || path.starts_with("/v1/images") => 403,
                    ("delete", Some("/profile")) if manage => 200,
                    // There is no connection behind these requests that could be upgraded.
                    ("post", Some("/login" | "/console")) if login => 426,
                    // Of all zones.
                    ("get", None) if path == "/metrics" || path == "/v1/events" => 403,
                    ("get", None) => 200,
                    ("get", Some(_)) if open.contains(&path.as_str()) => 200,
                    _ => 403,
                };
                let found = status(delegate, method, path).await;
                // What is permitted may still be wrong in the zone's state.
                let right = if expected == 0 { matches!(found, 200 | 204 | 409) } else { found == expected };
                assert!(right, "{auths}: {method} {path}: {found}, not {expected}");
                if of_zone.is_some() {
                    let other = status(delegate, method, &path.replace("{name}", "other")).await;
                    let absent = status(delegate, method, &path.replace("{name}", "absent")).await;
                    assert_eq!(other, absent, "{method} {path} tells whether a zone is there");
                    assert_eq!(other, 403, "{method} {path}");
                }
            }
        }
        assert_eq!(status(delegate, "get", "/v1/events?names=a").await, 200);
        assert_eq!(status(delegate, "get", "/v1/events?names=other").await, 403);
        let may = |auth| delegate.may(&place.zones, "a", auth, "do").is_ok();
        use super::peer::Auth;
        assert_eq!((may(Auth::Login), may(Auth::Manage)), (login, manage), "{auths}");
        assert_eq!(may(Auth::CloneFrom), auths == "clonefrom");
        assert!(may(Auth::Any) && delegate.may(&place.zones, "other", Auth::Any, "do").is_err());
        assert!(delegate.sees(&place.zones, "a") && !delegate.sees(&place.zones, "other"));
        assert!(!guest.sees(&place.zones, "a"));
        if place.state("a") != State::Installed {
            place.zones.halt("a").unwrap();
        }
        // An init of one's own choice is a login.
        let own = async |body: &'static str| {
            let mut request =
                Request::builder().method("POST").uri("/v1/zones/a/boot").body(Body::from(body)).unwrap();
            request.extensions_mut().insert(delegate);
            router.call(request).await.unwrap().status().as_u16()
        };
        let expected = if login && manage { 204 } else { 403 };
        assert_eq!(own(r#"{"init":"/bin/sh"}"#).await, expected, "{auths}");
        if expected == 204 {
            place.zones.halt("a").unwrap();
        }
        admin(|properties| zone_api::Edit::Remove { resource: "admin".into(), properties }, None);
    }
    let mut lists = Vec::new();
    for peer in [guest, Peer { uid: 0, trusted: true, named: true }] {
        let mut request = Request::builder().uri("/v1/zones?all").body(Body::empty()).unwrap();
        request.extensions_mut().insert(peer);
        let body = router.call(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        lists.push(serde_json::from_slice::<Vec<zone_api::Zone>>(&body).unwrap().len());
    }
    assert_eq!(lists, [0, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_requests_end_and_zones_live() {
    let mut api = Api::new();
    api.place.installed("a");
    api.place.fake.starts.close();
    let mut idle = UnixStream::connect(&api.socket).unwrap();
    let (sent, answered) = oneshot::channel();
    let mut asking = UnixStream::connect(&api.socket).unwrap();
    std::thread::spawn(move || {
        asking.write_all(b"POST /v1/zones/a/boot HTTP/1.1\r\nHost: z\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).unwrap();
        sent.send(answer).unwrap();
    });
    api.place.until("the boot", |place| place.zones.zone("a").unwrap().busy.is_some());
    api.stop.take().unwrap().send(()).unwrap();
    assert_eq!(idle.read(&mut [0; 8]).unwrap(), 0, "an idle connection was kept");
    api.place.fake.starts.open();
    assert!(answered.await.unwrap().starts_with("HTTP/1.1 204"));
    api.served.await.unwrap().unwrap();
    assert_eq!(api.place.state("a"), State::Running);
    assert!(UnixStream::connect(&api.socket).is_err());
}
