//! Images from a real registry, Debian's docker-registry, and from servers that are worse.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;
use zone_api::{ApiError, ErrorKind, Progress};
use zoned::pull::{Pulled, Puller, Reference};
use zones_tests::{Asked, How, Server, Zoned, binary, busybox_root, eventually};

/// Nobody else's.
const ID: u32 = (1 << 30) - 1;

fn is_missing(test: &str) -> bool {
    zones_tests::is_missing(test, &["docker-registry", "skopeo", "umoci", "openssl"])
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn digest(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("file");
    fs::write(&path, bytes).expect("write");
    format!("sha256:{}", run(Command::new("sha256sum").arg(path)).split(' ').next().expect("a digest"))
}

/// Bytes that do not pack.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// An image of three layers, the second of 4 MiB, in a layout; `LAYOUT:one`.
fn layout(dir: &Path, architecture: &str) -> PathBuf {
    let layout = dir.join("layout");
    let image = format!("{}:one", layout.display());
    if !layout.exists() {
        run(Command::new("umoci").args(["init", "--layout"]).arg(&layout));
    }
    run(Command::new("umoci").args(["new", "--image", &image]));
    for (n, len) in [(1, 1000), (2, 4 << 20), (3, 50_000)] {
        let file = dir.join("file");
        fs::write(&file, noise(len, n)).expect("write");
        run(Command::new("umoci").args(["insert", "--image", &image]).arg(&file).arg(format!("/data/{n}")));
    }
    run(Command::new("umoci").args([
        "config",
        "--image",
        &image,
        "--os",
        "linux",
        "--architecture",
        architecture,
    ]));
    layout
}

/// Makes an index of the image `one` and of others that are for no machine here; `LAYOUT:all`.
fn make_index(layout: &Path, architecture: &str) {
    let path = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).expect("an index")).expect("JSON");
    let mut one = index["manifests"].as_array().expect("a list").last().expect("an image").clone();
    one.as_object_mut().expect("a descriptor").remove("annotations");
    let with = |os: &str, architecture: &str| {
        let mut found = one.clone();
        found["platform"] = json!({"os": os, "architecture": architecture});
        found
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let all = json!({"schemaVersion": 2, "mediaType": kind,
        "manifests": [with("linux", "arm64"), with("windows", "amd64"), with("linux", architecture)]});
    let bytes = serde_json::to_vec(&all).expect("JSON");
    let digest = digest(&bytes);
    fs::write(layout.join("blobs/sha256").join(&digest[7..]), &bytes).expect("write");
    let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "all"}});
    index["manifests"].as_array_mut().expect("a list").push(descriptor);
    fs::write(&path, serde_json::to_vec(&index).expect("JSON")).expect("write");
}

/// docker-registry(1) with a folder of its own.
struct Registry {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(more: &Value, dir: TempDir) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let mut config = json!({"version": 0.1, "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("registry")}},
            "http": {"addr": format!("127.0.0.1:{port}"), "secret": "x"}});
        for (key, value) in more.as_object().expect("a table") {
            for (inner, value) in value.as_object().expect("a table") {
                config[key][inner] = value.clone();
            }
        }
        let path = dir.path().join("config.yml");
        // JSON is YAML.
        fs::write(&path, config.to_string()).expect("write");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("run docker-registry");
        eventually("the registry listens", 20, || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { child, port, dir }
    }

    fn plain() -> Self {
        Self::start(&json!({}), tempfile::tempdir().expect("a folder"))
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn push(&self, from: &str, name: &str, words: &[&str]) {
        let to = format!("docker://{}/{name}", self.host());
        run(Command::new("skopeo").arg("copy").arg("--dest-tls-verify=false").args(words).args([from, &to]));
    }

    /// With the image of [`layout`] as `team/one:v1`.
    fn filled() -> (Self, PathBuf) {
        let registry = Self::plain();
        let layout = layout(registry.dir.path(), "amd64");
        registry.push(&format!("oci:{}:one", layout.display()), "team/one:v1", &[]);
        (registry, layout)
    }
}

/// Pulls into a folder of its own.
struct Client {
    puller: Puller,
    dir: TempDir,
}

impl Client {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let puller = Puller {
            program: binary("zoned").expect("build zoned"),
            folder: dir.path().join("pull"),
            id: ID,
            insecure: Vec::new(),
            auth_file: None,
        };
        Self { puller, dir }
    }

    fn pull(&self, name: &str) -> Result<Pulled, ApiError> {
        self.pull_as(name, None)
    }

    fn pull_as(&self, name: &str, arch: Option<&str>) -> Result<Pulled, ApiError> {
        let reference: Reference = name.parse().expect("a name");
        self.puller.pull(&reference, arch, &|progress| {
            if let Progress::Note { text } = progress {
                eprintln!("note: {text}");
            }
        })
    }

    fn refused(&self, name: &str) -> ApiError {
        let error = self.pull(name).expect_err("it is refused");
        eprintln!("{error}; {:?}", error.hint);
        error
    }

    /// Files in the folders of that name.
    fn kept(&self, folder: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for layout in fs::read_dir(&self.puller.folder).into_iter().flatten().flatten() {
            for entry in fs::read_dir(layout.path().join(folder)).into_iter().flatten().flatten() {
                let len = entry.metadata().expect("a file").len();
                found.push((entry.file_name().to_string_lossy().into_owned(), len));
            }
        }
        found
    }
}

/// What skopeo says that it is.
fn inspected(image: &str) -> Value {
    let said = run(Command::new("skopeo").args(["inspect", "--tls-verify=false", image]));
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn an_image_comes_as_it_is_in_the_registry() {
    if is_missing("an_image_comes_as_it_is_in_the_registry") {
        return;
    }
    let (registry, layout) = Registry::filled();
    make_index(&layout, "386");
    registry.push(&format!("oci:{}:all", layout.display()), "team/all:v2", &["--all"]);
    let one = format!("oci:{}:one", layout.display());
    registry.push(&one, "team/one:docker", &["--format", "v2s2"]);
    let client = Client::new();
    for (name, tag) in [("team/one", "v1"), ("team/one", "docker")] {
        let pulled = client.pull(&format!("docker://{}/{name}:{tag}", registry.host())).expect("it is there");
        let there = inspected(&format!("docker://{}/{name}:{tag}", registry.host()));
        assert_eq!(there["Digest"], *pulled.manifest);
        // skopeo finds no manifest of Docker's in a layout; zoned does.
        if tag == "v1" {
            let here = inspected(&format!("oci:{}:{tag}", pulled.layout.display()));
            assert_eq!((&here["Digest"], &here["Layers"]), (&there["Digest"], &there["Layers"]));
            assert_eq!(here["Layers"].as_array().expect("a list").len(), 3);
        }
    }
    // By the digest of the index, for either machine that is named and no other.
    let raw = run(Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/team/all:v2", registry.host())));
    let pinned = format!("docker://{}/team/all@{}", registry.host(), digest(raw.as_bytes()));
    let error = client.pull_as(&pinned, Some("x86_64")).expect_err("there is none");
    assert!(
        error.why.contains("none for linux/amd64, but for linux/arm64, windows/amd64, linux/386"),
        "{error}"
    );
    // Its entry for i386 has a configuration that says amd64.
    let error = client.pull_as(&pinned, Some("i686")).expect_err("the index lies");
    assert!(error.why.contains("it is for linux/amd64, not for linux/386"), "{error}");
    let error = client.refused(&format!("docker://{}/team/none:v1", registry.host()));
    assert!(error.why.contains("has no ") && error.why.contains("manifest unknown"), "{error}");
    let error = client.refused(&format!("docker://{}/team/one@sha256:{}", registry.host(), "0".repeat(64)));
    assert!(error.why.contains("has no "), "{error}");
    let error = client.refused("docker://127.0.0.1:1/x");
    assert!(error.why.contains("connection refused"), "{error}");
}

/// Bytes of bodies that went through it.
fn pass(stream: &mut TcpStream, to: &mut TcpStream, most: u64, pause: Duration, passed: &AtomicU64) {
    let mut buf = vec![0; 64 << 10];
    let mut left = most;
    while left > 0 {
        let want = buf.len().min(left as usize);
        match stream.read(&mut buf[..want]) {
            Ok(n) if n > 0 && to.write_all(&buf[..n]).is_ok() => {
                left -= n as u64;
                passed.fetch_add(n as u64, Ordering::Relaxed);
            }
            _ => return,
        }
        std::thread::sleep(pause);
    }
}

#[test]
fn cut_connections_are_gone_on_with() {
    if is_missing("cut_connections_are_gone_on_with") {
        return;
    }
    let (registry, _) = Registry::filled();
    let (host, busy, passed) = (registry.host(), AtomicU64::new(2), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&passed);
    let relay = Server::start(move |asked, to| {
        if asked.path.contains("/blobs/")
            && busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            return Server::respond(to, "503 Service Unavailable", &[("Retry-After", "0")], b"later");
        }
        Server::relay(asked, &host, |from| pass(from, to, 1 << 20, Duration::ZERO, &counted));
    });
    let client = Client::new();
    let pulled = client.pull(&format!("docker://{}/team/one:v1", relay.host())).expect("it comes in pieces");
    let ranges: Vec<String> =
        relay.asked().iter().filter_map(|asked| Some(asked.header("range")?.to_owned())).collect();
    assert!(ranges.len() >= 3 && ranges.iter().all(|range| range.starts_with("bytes=")), "{ranges:?}");
    assert!(passed.load(Ordering::Relaxed) < 5 << 20, "nothing came twice");
    let here = inspected(&format!("oci:{}:v1", pulled.layout.display()));
    assert_eq!(here["Digest"], *pulled.manifest);
    // Once it is in the store, nothing is left.
    let layout = pulled.layout.clone();
    pulled.discard().expect("remove it");
    assert!(!layout.exists());
}

/// The processes that pull and were started by this test's thread.
fn pullers() -> Vec<i32> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").expect("threads").flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if words.split(|b| *b == 0).nth(1) == Some(b"pull") {
                found.push(pid);
            }
        }
    }
    found
}

/// Also looks at who speaks to the network.
#[test]
fn a_pull_that_was_killed_goes_on_where_it_was() {
    if is_missing("a_pull_that_was_killed_goes_on_where_it_was") {
        return;
    }
    let (registry, _) = Registry::filled();
    let (host, passed) = (registry.host(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&passed);
    // 4 MiB in some three seconds.
    let relay = Server::start(move |asked, to| {
        let pause = if asked.path.contains("/blobs/") { Duration::from_millis(40) } else { Duration::ZERO };
        Server::relay(asked, &host, |from| pass(from, to, u64::MAX, pause, &counted));
    });
    let client = Client::new();
    let name = format!("docker://{}/team/one:v1", relay.host());
    std::thread::scope(|scope| {
        let pulling = scope.spawn(|| client.pull(&name));
        eventually("a part of it came", 20, || client.kept("partial").iter().any(|(_, len)| *len > 1 << 20));
        let mine = pullers();
        // Other tests of this process pull too: the one that has our folder open.
        let folder = client.puller.folder.display().to_string();
        let holds = |pid: &i32| {
            let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            fds.filter_map(|fd| fs::read_link(fd.path()).ok())
                .any(|to| to.to_string_lossy().starts_with(&folder))
        };
        let pid = *mine.iter().find(|pid| holds(pid)).expect("a process pulls");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        let id = ID.to_string();
        assert_eq!(field("Uid:"), [id.as_str(); 4].join(" "));
        assert_eq!(field("Gid:"), [id.as_str(); 4].join(" "));
        assert_eq!((field("Groups:"), field("NoNewPrivs:")), (String::new(), "1".to_owned()));
        for set in ["CapPrm:", "CapEff:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(set), "0".repeat(16), "{set}");
        }
        assert_eq!(
            fs::metadata(format!("/proc/{pid}/mem")).expect("it lives").uid(),
            0,
            "it cannot be traced"
        );
        let error = client.refused(&name);
        assert_eq!((error.kind, error.why.as_str()), (ErrorKind::WrongState, "it is being pulled already"));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
            .expect("kill it");
        let error = pulling.join().expect("no panic").expect_err("it was killed");
        assert!(error.why.contains("signal: 9"), "{error}");
    });
    let before = client.kept("partial").iter().map(|(_, len)| *len).max().expect("a part is kept");
    relay.forget();
    let pulled = client.pull(&name).expect("it goes on");
    let ranges: Vec<u64> = relay
        .asked()
        .iter()
        .filter_map(|asked| asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
        .collect();
    assert_eq!(ranges, [before]);
    let here = inspected(&format!("oci:{}:v1", pulled.layout.display()));
    assert_eq!(here["Digest"], *pulled.manifest);
    assert!(passed.load(Ordering::Relaxed) < 6 << 20, "{}", passed.load(Ordering::Relaxed));
}

/// What gives out tokens for a docker-registry: a key, and who may have one.
struct Issuer {
    dir: PathBuf,
    server: Server,
}

fn base64url(bytes: &[u8]) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A JSON web token that allows what the scope says (RFC 7515).
fn token(dir: &Path, scope: &str) -> String {
    let pem = fs::read_to_string(dir.join("cert.pem")).expect("a certificate");
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [der]});
    let [kind, name, actions] = scope.split(':').collect::<Vec<_>>()[..] else { panic!("scope {scope}") };
    let actions: Vec<&str> = actions.split(',').collect();
    let claims = json!({"iss": "tests", "sub": "", "aud": "registry", "exp": 4_000_000_000u64, "nbf": 0, "iat": 0,
        "jti": "1", "access": [{"type": kind, "name": name, "actions": actions}]});
    let text =
        format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(dir.join("key.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("run openssl");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("write");
    let signature = child.wait_with_output().expect("openssl ends").stdout;
    format!("{text}.{}", base64url(&signature))
}

fn certificate(dir: &Path) {
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9999", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem")));
}

impl Issuer {
    fn start(dir: &Path) -> Self {
        certificate(dir);
        let keys = dir.to_owned();
        let server = Server::start(move |asked, to| {
            let word =
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("ann:secret:word"));
            if asked.header("authorization") != Some(&word) {
                let body = br#"{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}"#;
                return Server::respond(to, "401 Unauthorized", &[], body);
            }
            let scope = asked
                .query("scope")
                .unwrap_or("registry:catalog:*")
                .replace("%3A", ":")
                .replace("%2F", "/")
                .replace("%2C", ",");
            let body = json!({"token": token(&keys, &scope), "expires_in": 60});
            Server::respond(
                to,
                "200 OK",
                &[("Content-Type", "application/json")],
                body.to_string().as_bytes(),
            );
        });
        Self { dir: dir.to_owned(), server }
    }

    fn registry(&self, dir: TempDir) -> Registry {
        let realm = format!("http://{}/token", self.server.host());
        let bundle = self.dir.join("cert.pem");
        Registry::start(
            &json!({"auth": {"token": {"realm": realm, "service": "registry", "issuer": "tests", "rootcertbundle": bundle}}}),
            dir,
        )
    }
}

#[test]
fn a_registry_that_wants_tokens_gets_them() {
    if is_missing("a_registry_that_wants_tokens_gets_them") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let issuer = Issuer::start(dir.path());
    let registry = issuer.registry(tempfile::tempdir().expect("a folder"));
    let layout = layout(registry.dir.path(), "amd64");
    registry.push(
        &format!("oci:{}:one", layout.display()),
        "team/one:v1",
        &["--dest-creds", "ann:secret:word"],
    );
    let mut client = Client::new();
    let name = format!("docker://{}/team/one:v1", registry.host());
    issuer.server.forget();
    let error = client.refused(&name);
    assert_eq!(error.kind, ErrorKind::NotPermitted);
    assert!(
        error.why.contains("does not let everybody have") && error.why.ends_with("who are you?"),
        "{error}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("auth-file")));
    // It asks for no more than it needs.
    assert_eq!(issuer.server.asked()[0].query("scope"), Some("repository%3Ateam%2Fone%3Apull"));
    assert_eq!(issuer.server.asked()[0].query("service"), Some("registry"));
    let file = client.dir.path().join("config.json");
    client.puller.auth_file = Some(file.clone());
    let login = |word: &str| {
        let word = base64::engine::general_purpose::STANDARD.encode(word);
        fs::write(&file, json!({"auths": {registry.host(): {"auth": word}}}).to_string()).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    };
    login("ann:wrong");
    let error = client.refused(&name);
    assert_eq!(error.kind, ErrorKind::NotPermitted);
    assert!(!error.to_string().contains("wrong"), "{error}");
    login("ann:secret:word");
    let pulled = client.pull(&name).expect("it is known now");
    assert_eq!(inspected(&format!("oci:{}:v1", pulled.layout.display()))["Digest"], *pulled.manifest);
}

/// A manifest for these blobs, and what serves it.
fn served(blobs: &[(Value, Vec<u8>)], config: &[u8]) -> Vec<u8> {
    let layers: Vec<&Value> = blobs.iter().map(|(descriptor, _)| descriptor).collect();
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(config), "size": config.len()});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}))
        .expect("JSON")
}

fn layer(said: &[u8], given: &[u8]) -> (Value, Vec<u8>) {
    let kind = "application/vnd.oci.image.layer.v1.tar";
    (json!({"mediaType": kind, "digest": digest(said), "size": said.len()}), given.to_vec())
}

/// Serves a manifest and these blobs as it is told, whatever it should be.
fn hostile(manifest: Vec<u8>, blobs: Vec<(Value, Vec<u8>)>, config: Vec<u8>) -> Server {
    let config = (json!({"digest": digest(&config)}), config);
    Server::start(move |asked: &Asked, to| {
        if asked.path == "/v2/" {
            return Server::respond(to, "200 OK", &[], b"{}");
        }
        if asked.path.contains("/manifests/") {
            return Server::respond(to, "200 OK", &[], &manifest);
        }
        let found = blobs.iter().chain([&config]);
        let found =
            found.into_iter().find(|(d, _)| asked.path.ends_with(d["digest"].as_str().unwrap_or("?")));
        match found {
            Some((_, bytes)) => Server::respond(to, "200 OK", &[], bytes),
            None => Server::respond(to, "404 Not Found", &[], b""),
        }
    })
}

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;

#[test]
fn a_registry_that_lies_is_found_out_and_nothing_is_kept() {
    if is_missing("a_registry_that_lies_is_found_out_and_nothing_is_kept") {
        return;
    }
    let refused = |blobs: Vec<(Value, Vec<u8>)>| {
        let server = hostile(served(&blobs, CONFIG), blobs, CONFIG.to_vec());
        let client = Client::new();
        let error = client.refused(&format!("docker://{}/x", server.host()));
        assert_eq!(
            client.kept("partial").iter().filter(|(_, len)| *len > 0).count(),
            0,
            "{:?}",
            client.kept("partial")
        );
        // The manifest and the configuration, which are what they are called.
        assert_eq!(client.kept("blobs/sha256").len(), 2);
        error.why
    };
    let why = refused(vec![layer(b"what it says", b"and gives it")]);
    assert!(why.contains("gave something else for sha256:"), "{why}");
    let why = refused(vec![layer(b"short", b"much longer")]);
    assert!(why.contains("is longer than the manifest says"), "{why}");

    let refused = |manifest: Vec<u8>, name: &str| {
        let server = hostile(manifest, Vec::new(), CONFIG.to_vec());
        let client = Client::new();
        let error = client.refused(&format!("docker://{}/{name}", server.host()));
        assert_eq!(client.kept("blobs/sha256").len(), usize::from(error.why.contains("layers")));
        error.why
    };
    let good = served(&[], CONFIG);
    let why = refused(good.clone(), &format!("x@{}", digest(b"another")));
    assert!(why.contains("for the manifest sha256:"), "{why}");
    let why = refused(vec![b' '; (4 << 20) + 1], "x");
    assert!(why.contains("more than 4194304 bytes"), "{why}");
    let why = refused(b"\x1b[2J{".to_vec(), "x");
    assert!(why.contains("makes no sense") && !why.contains('\x1b'), "{why}");
    let why = refused(br#"{"schemaVersion":1}"#.to_vec(), "x");
    assert!(why.contains("schema 1"), "{why}");
    let mut both: Value = serde_json::from_slice(&good).expect("JSON");
    both["manifests"] = json!([]);
    let why = refused(both.to_string().into_bytes(), "x");
    assert!(why.contains("an image or an index"), "{why}");
    let many: Vec<_> = (0..128u8).map(|_| layer(b"", b"")).collect();
    let why = refused(served(&many, CONFIG), "x");
    assert!(why.contains("128 layers, 127 are the most"), "{why}");
    let (mut odd, _) = layer(b"", b"");
    odd["digest"] = "sha256:../../../../etc/passwd".into();
    let server = hostile(served(&[(odd, Vec::new())], CONFIG), Vec::new(), CONFIG.to_vec());
    let error = Client::new().refused(&format!("docker://{}/x", server.host()));
    assert!(error.why.contains("something else than a sha256 digest"), "{error}");
}

#[test]
fn who_it_is_sent_on_to_does_not_hear_who_asks() {
    if is_missing("who_it_is_sent_on_to_does_not_hear_who_asks") {
        return;
    }
    let blob = layer(b"content", b"content");
    let elsewhere = Server::start(|_, to| Server::respond(to, "200 OK", &[], b"content"));
    let (there, manifest) = (elsewhere.host(), served(std::slice::from_ref(&blob), CONFIG));
    let server = Server::start(move |asked, to| {
        if asked.header("authorization").is_none() {
            return Server::respond(
                to,
                "401 Unauthorized",
                &[("WWW-Authenticate", "Basic realm=\"x\"")],
                b"",
            );
        }
        match &asked.path {
            path if path.contains("/manifests/") => Server::respond(to, "200 OK", &[], &manifest),
            path if path.ends_with(&digest(CONFIG)) => Server::respond(to, "200 OK", &[], CONFIG),
            path if path.contains("/blobs/") => {
                let at = format!("http://{there}/signed?x=1");
                Server::respond(to, "307 Temporary Redirect", &[("Location", &at)], b"");
            }
            _ => Server::respond(to, "200 OK", &[], b"{}"),
        }
    });
    let mut client = Client::new();
    let file = client.dir.path().join("config.json");
    let word = base64::engine::general_purpose::STANDARD.encode("ann:secret");
    fs::write(&file, json!({"auths": {server.host(): {"auth": word}}}).to_string()).expect("write");
    client.puller.auth_file = Some(file);
    client.pull(&format!("docker://{}/x", server.host())).expect("it comes from elsewhere");
    assert_eq!(elsewhere.asked().len(), 1);
    assert_eq!(elsewhere.asked()[0].path, "/signed?x=1");
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
    assert!(server.asked().iter().filter(|asked| asked.header("authorization").is_some()).count() >= 3);
}

#[test]
fn without_tls_only_this_host_and_those_that_are_named_are_spoken_to() {
    if is_missing("without_tls_only_this_host_and_those_that_are_named_are_spoken_to") {
        return;
    }
    let (registry, _) = Registry::filled();
    // A name of this host that is none of those it is known by.
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_owned();
    let reaches = std::net::ToSocketAddrs::to_socket_addrs(&(name.as_str(), registry.port))
        .is_ok_and(|mut found| found.any(|found| found.ip().is_loopback()));
    if !reaches || !name.contains('.') && name == "localhost" {
        eprintln!("SKIPPED half of a test: this host's name is not its loopback's");
    }
    // One with TLS and a certificate that nobody vouches for is not spoken to without.
    let dir = tempfile::tempdir().expect("a folder");
    certificate(dir.path());
    let tls = json!({"http": {"tls": {"certificate": dir.path().join("cert.pem"), "key": dir.path().join("key.pem")}}});
    let secure = Registry::start(&tls, tempfile::tempdir().expect("a folder"));
    let mut client = Client::new();
    let error = client.refused(&format!("docker://localhost:{}/x", secure.port));
    assert!(error.why.contains("certificate"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("update-ca-certificates")));
    if reaches {
        let named = format!("{name}:{}", registry.port);
        let error = client.refused(&format!("docker://{named}/team/one:v1"));
        assert!(error.why.starts_with(&name), "{error}");
        client.puller.insecure = vec![named.clone()];
        client.pull(&format!("docker://{named}/team/one:v1")).expect("it is named");
    }
}

/// With a busybox in it, so that it can be a zone.
fn runnable(dir: &Path) -> PathBuf {
    let layout = layout(dir, "amd64");
    let image = format!("{}:one", layout.display());
    run(Command::new("umoci").args(["insert", "--image", &image]).arg(busybox_root()).arg("/"));
    run(Command::new("umoci").args(["config", "--image", &image, "--config.cmd", "/bin/sh"]));
    layout
}

#[test]
fn a_zone_is_installed_from_a_registry_with_tls_and_a_password() {
    if is_missing("a_zone_is_installed_from_a_registry_with_tls_and_a_password") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let issuer = Issuer::start(dir.path());
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let realm = format!("http://{}/token", issuer.server.host());
    let config = json!({"http": {"tls": {"certificate": certificate, "key": key}},
        "auth": {"token": {"realm": realm, "service": "registry", "issuer": "tests", "rootcertbundle": certificate}}});
    let registry = Registry::start(&config, tempfile::tempdir().expect("a folder"));
    let from = format!("oci:{}:one", runnable(registry.dir.path()).display());
    for (name, words) in [("v1", &[][..]), ("docker", &["--format", "v2s2"])] {
        registry.push(
            &from,
            &format!("team/one:{name}"),
            &[&["--dest-creds", "ann:secret:word"], words].concat(),
        );
    }
    let host = format!("localhost:{}", registry.port);
    let logins = dir.path().join("auth.json");
    let word = base64::engine::general_purpose::STANDARD.encode("ann:secret:word");
    fs::write(&logins, json!({"auths": {host.as_str(): {"auth": word}}}).to_string()).expect("write");
    let settings = format!("[images]\nauth-file = {:?}\n", logins.display().to_string());
    let env = vec![("SSL_CERT_FILE".to_owned(), certificate.display().to_string())];
    let zoned = Zoned::start_as(How { settings, env, ..How::default() });
    let name = format!("{host}/team/one:v1");
    zoned.zonectl(&["create", "z"]).ok();
    zoned.zonectl(&["install", "z", &format!("docker://{name}")]).ok();
    zoned.zonectl(&["boot", "z", "-i", "none"]).ok();
    assert_eq!(zoned.sh("z", "wc -c < /data/2").trim(), (4 << 20).to_string());
    zoned.zonectl(&["image", "import", &format!("docker://{host}/team/one:docker"), "one:docker"]).ok();
    let images: Value =
        serde_json::from_str(&zoned.zonectl(&["--json", "image", "list"]).ok()).expect("JSON");
    let names: Vec<_> =
        images.as_array().expect("a list").iter().map(|image| image["name"].as_str()).collect();
    assert_eq!(names, [Some(name.as_str()), Some("one:docker")]);
    assert_eq!(images[0]["layers"], images[1]["layers"]);
    // Nothing but the layers is kept.
    assert_eq!(fs::read_dir(zoned.root().join("images/pull")).expect("a folder").count(), 0);
    let none = zoned.zonectl(&["image", "import", &format!("docker://{host}/team/none:v1")]).code(1);
    assert!(none.stderr.contains("has no "), "{none}");
    zoned.zonectl(&["image", "import", "docker://NOT/a name"]).code(2);
}

#[test]
fn a_pull_outlives_a_zoned_that_was_killed() {
    if is_missing("a_pull_outlives_a_zoned_that_was_killed") {
        return;
    }
    let (registry, _) = Registry::filled();
    let host = registry.host();
    let relay = Server::start(move |asked, to| {
        let pause = if asked.path.contains("/blobs/") { Duration::from_millis(40) } else { Duration::ZERO };
        Server::relay(asked, &host, |from| pass(from, to, u64::MAX, pause, &AtomicU64::new(0)));
    });
    let mut zoned = Zoned::start();
    let source = format!("docker://{}/team/one:v1", relay.host());
    let words = ["image", "import", source.as_str(), "one"];
    let client = zoned.spawn(&words);
    let folder = zoned.root().join("images/pull");
    let parts = || -> Vec<(PathBuf, u64)> {
        let layouts = fs::read_dir(&folder).into_iter().flatten().flatten();
        let parts = layouts.filter_map(|layout| fs::read_dir(layout.path().join("partial")).ok()).flatten();
        parts.flatten().map(|part| (part.path(), part.metadata().map_or(0, |found| found.len()))).collect()
    };
    eventually("a part of it came", 30, || parts().iter().any(|(_, len)| *len > 1 << 20));
    zoned.kill9();
    client.finish();
    // Whom it started ends with it: the part grows no more.
    let grown = || parts().iter().map(|(_, len)| *len).max().expect("a part is kept");
    std::thread::sleep(Duration::from_millis(300));
    let before = grown();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(grown(), before);
    relay.forget();
    zoned.start_again();
    zoned.zonectl(&words).ok();
    let ranges: Vec<String> =
        relay.asked().iter().filter_map(|asked| Some(asked.header("range")?.to_owned())).collect();
    assert_eq!(ranges, [format!("bytes={before}-")]);
    zoned.zonectl(&["image", "verify"]).ok();
}
