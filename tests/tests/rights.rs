//! Every route of the API as everybody: who may not is refused and changes nothing, and what makes no sense is answered
//! as the description says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::unistd::Group;
use serde_json::{Value, json};
use zones_tests::{Caller, Dice, How, Reply, Zoned, ask, busybox_root};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Whoever can connect; what is not his is left out.
    Everyone,
    /// Root, and the group of zoned.toml.
    Administrators,
    /// Who has any right on the zone.
    Any,
    /// One right on it.
    Manage,
    Login,
    CloneFrom,
}

use Right::{Administrators, Any, CloneFrom, Everyone, Login, Manage};

/// Every route. One that is described and not here fails the test.
const RIGHTS: [(&str, &str, Right); 53] = [
    ("get", "/metrics", Administrators),
    ("get", "/v1/brands", Everyone),
    ("get", "/v1/brands/{brand}", Everyone),
    ("get", "/v1/doctor", Everyone),
    ("get", "/v1/du", Administrators),
    // Of all zones; with names see `what_is_of_several_zones_takes_a_right_on_each`.
    ("get", "/v1/events", Administrators),
    ("get", "/v1/images", Administrators),
    ("post", "/v1/images", Administrators),
    ("get", "/v1/images/{name}", Administrators),
    ("delete", "/v1/images/{name}", Administrators),
    ("get", "/v1/images/{name}/export", Administrators),
    ("get", "/v1/openapi.json", Everyone),
    ("post", "/v1/prune-images", Administrators),
    ("post", "/v1/run", Administrators),
    ("post", "/v1/shutdown", Administrators),
    ("get", "/v1/stat", Everyone),
    ("post", "/v1/verify-images", Administrators),
    ("get", "/v1/version", Everyone),
    ("get", "/v1/zones", Everyone),
    ("post", "/v1/zones", Administrators),
    ("get", "/v1/zones/{name}", Any),
    ("delete", "/v1/zones/{name}", Administrators),
    ("post", "/v1/zones/{name}/attach", Administrators),
    ("post", "/v1/zones/{name}/boot", Manage),
    // Into a zone that the caller manages.
    ("post", "/v1/zones/{name}/clone", CloneFrom),
    ("post", "/v1/zones/{name}/commit", Administrators),
    ("get", "/v1/zones/{name}/config", Any),
    ("put", "/v1/zones/{name}/config", Administrators),
    ("patch", "/v1/zones/{name}/config", Administrators),
    ("post", "/v1/zones/{name}/console", Login),
    ("post", "/v1/zones/{name}/ctrl-alt-del", Manage),
    ("post", "/v1/zones/{name}/detach", Administrators),
    ("get", "/v1/zones/{name}/get", Any),
    ("post", "/v1/zones/{name}/halt", Manage),
    ("post", "/v1/zones/{name}/install", Administrators),
    ("get", "/v1/zones/{name}/ledger", Any),
    ("delete", "/v1/zones/{name}/ledger", Manage),
    ("get", "/v1/zones/{name}/log", Any),
    ("post", "/v1/zones/{name}/login", Login),
    ("post", "/v1/zones/{name}/move", Administrators),
    ("get", "/v1/zones/{name}/profile", Any),
    ("delete", "/v1/zones/{name}/profile", Manage),
    ("post", "/v1/zones/{name}/ready", Manage),
    ("post", "/v1/zones/{name}/reboot", Manage),
    ("post", "/v1/zones/{name}/receive", Administrators),
    ("get", "/v1/zones/{name}/send", Administrators),
    ("post", "/v1/zones/{name}/shutdown", Manage),
    ("get", "/v1/zones/{name}/snapshots", Any),
    ("post", "/v1/zones/{name}/snapshots", Manage),
    ("delete", "/v1/zones/{name}/snapshots/{snapshot}", Manage),
    ("post", "/v1/zones/{name}/snapshots/{snapshot}/rollback", Manage),
    ("post", "/v1/zones/{name}/uninstall", Administrators),
    ("post", "/v1/zones/{name}/verify", Any),
];

/// Users of every host, and what they have on zone `mine`.
const DELEGATES: [(&str, &[&str]); 4] = [
    ("daemon", &["login", "manage", "clonefrom"]),
    ("bin", &["login"]),
    ("mail", &["manage"]),
    ("sync", &["clonefrom"]),
];

/// Group of zoned.toml; nobody is in it by the user database.
const GROUP: &str = "tty";

/// A zoned with the zones `mine`, on which the delegates have their rights, and `other`.
struct Host {
    zoned: Zoned,
    document: Value,
    member: Caller,
}

impl Host {
    fn new() -> Self {
        let settings = format!("group = \"{GROUP}\"\n");
        let zoned = Zoned::start_as(How { settings, ..How::default() });
        let described = ask(&zoned.socket(), Caller::STRANGER, "GET", "/v1/openapi.json", &[], b"");
        let document = serde_json::from_slice(&described.expect("it answers").body).expect("it is JSON");
        let gid = Group::from_name(GROUP).expect("groups").expect("every host has it").gid.as_raw();
        let host = Self { zoned, document, member: Caller { uid: 54_322, gid } };
        host.renew();
        host
    }

    /// Both zones as they were, whatever was done to them.
    fn renew(&self) {
        for name in ["mine", "other"] {
            let zone = self.zone(name);
            if zone.as_ref().is_some_and(|zone| zone["state"] == "installed")
                && self.delegated(name) == (name == "mine")
            {
                continue;
            }
            if zone.is_some() {
                self.zoned.forget(name);
            }
            let root = format!("dir:{}", busybox_root().display());
            self.zoned.install(name, &root, &["ip-type=none"]);
            for (user, auths) in DELEGATES.iter().filter(|_| name == "mine") {
                let (user, auths) = (format!("user={user}"), format!("auths={}", auths.join(",")));
                self.zoned.zonectl(&["add", name, "admin", &user, &auths]).ok();
            }
        }
    }

    /// Removes what requests made.
    fn tidy(&self) {
        let moved = self.zoned.scratch().join("moved");
        if moved.exists() {
            self.zoned.forget("mine");
            let _ = fs::remove_dir_all(moved);
        }
        if self.zone("fresh").is_some() {
            self.zoned.forget("fresh");
        }
    }

    /// A zone as the API tells it; `zonectl` for each request would take minutes.
    fn zone(&self, name: &str) -> Option<Value> {
        let all: Value =
            serde_json::from_slice(&self.ask(Caller::ROOT, "get", "/v1/zones?all", b"").body).ok()?;
        all.as_array()?.iter().find(|zone| zone["name"] == name).cloned()
    }

    fn delegated(&self, name: &str) -> bool {
        fs::read_to_string(self.zoned.zones().join(format!("{name}.toml")))
            .is_ok_and(|text| text.matches("[[admin]]").count() == DELEGATES.len())
    }

    /// Routes of the description: method and path.
    fn routes(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let methods = |item: &Value| item.as_object().expect("methods").keys().cloned().collect::<Vec<_>>();
        paths
            .iter()
            .flat_map(|(path, item)| methods(item).into_iter().map(move |method| (method, path.clone())))
            .collect()
    }

    fn operation(&self, method: &str, path: &str) -> &Value {
        &self.document["paths"][path][method]
    }

    fn ask(&self, who: Caller, method: &str, path: &str, body: &[u8]) -> Reply {
        // Routes that are no sessions do not mind.
        let session = ["/login", "/console", "/run"].iter().any(|end| path.ends_with(end));
        let upgrade = [("Connection", "Upgrade"), ("Upgrade", "zones-session")];
        let headers: &[_] = if session { &upgrade } else { &[] };
        ask(&self.zoned.socket(), who, &method.to_uppercase(), path, headers, body)
            .unwrap_or_else(|e| panic!("{method} {path} as {who:?}: {e}\n{}", self.zoned.log()))
    }

    /// A body that makes sense, where the route takes one.
    fn body(&self, method: &str, path: &str) -> Vec<u8> {
        let content = &self.operation(method, path)["requestBody"]["content"];
        if let Some(schema) = content.get("application/json").map(|json| &json["schema"]) {
            return self.valid("", schema).to_string().into_bytes();
        }
        if content.get("application/toml").is_some() {
            return b"name = \"mine\"\n".to_vec();
        }
        Vec::new()
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(at) = schema["$ref"].as_str() else { return schema };
        let found = self.document.pointer(at.trim_start_matches('#'));
        self.resolved(found.unwrap_or_else(|| panic!("the description lacks {at}")))
    }

    /// A value that a schema describes; of `key`, where what it means matters.
    fn valid(&self, key: &str, schema: &Value) -> Value {
        let schema = self.resolved(schema);
        if let Some(first) = ["oneOf", "anyOf"].iter().find_map(|of| schema[of].as_array()?.first()) {
            return self.valid(key, first);
        }
        if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
            return first.clone();
        }
        let kind = schema["type"].as_array().map_or(&schema["type"], |kinds| &kinds[0]);
        match kind.as_str() {
            Some("object") => {
                let properties = schema["properties"].as_object();
                let all = properties.into_iter().flatten();
                Value::Object(all.map(|(key, schema)| (key.clone(), self.valid(key, schema))).collect())
            }
            Some("array") if schema["prefixItems"].is_array() => json!([24, 80]),
            Some("array") if key == "command" => json!(["true"]),
            Some("array") if key == "binds" => json!([]),
            Some("array") => json!([self.valid(key, &schema["items"])]),
            Some("boolean") => json!(false),
            Some("integer" | "number") => json!(0),
            _ => match key {
                // An init of one's own is a login; a snapshot that is not there is not cloned.
                "init" | "args" | "snapshot" | "root" | "user" | "toml" => Value::Null,
                "path" => json!(self.zoned.scratch().join("moved")),
                "source" => json!(format!("dir:{}", busybox_root().display())),
                "name" | "to" => json!("fresh"),
                "image" => json!("made:1"),
                "key" => json!("autoboot"),
                "value" => json!("false"),
                _ => json!("text"),
            },
        }
    }

    /// What of an answer is not as the description has it.
    fn unlike(&self, method: &str, path: &str, reply: &Reply) -> Option<String> {
        let responses = &self.operation(method, path)["responses"];
        let status = reply.status.to_string();
        let Some(described) = responses.get(&status) else {
            let all: Vec<_> = responses.as_object().expect("responses").keys().collect();
            return Some(format!("{status} is not among {all:?}: {}", reply.text()));
        };
        if method == "get" && path == "/v1/events" && reply.status == 200 {
            return None;
        }
        let Some(content) = described["content"].as_object() else {
            return (!reply.body.is_empty()).then(|| format!("{status} has a body: {}", reply.text()));
        };
        let kind = reply.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let Some(media) = content.get(kind) else {
            return Some(format!("{status} is {kind:?}, not {:?}", content.keys().collect::<Vec<_>>()));
        };
        let documents: Result<Vec<Value>, _> = match kind {
            "application/json" => serde_json::from_slice(&reply.body).map(|document| vec![document]),
            "application/x-ndjson" => reply.text().lines().map(serde_json::from_str).collect(),
            _ => return None,
        };
        let documents = match documents {
            Ok(documents) => documents,
            Err(error) => return Some(format!("{error}: {}", reply.text())),
        };
        // What the description itself is described as is OpenAPI's.
        let mut schema = media.get("schema")?.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let wrong = documents.iter().flat_map(|document| validator.iter_errors(document));
        let wrong: Vec<String> = wrong.map(|error| error.to_string()).collect();
        (!wrong.is_empty()).then(|| format!("{wrong:?}: {}", reply.text()))
    }

    /// What there is, to be the same after what was refused.
    fn all_there_is(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for path in ["/v1/zones?all", "/v1/images", "/v1/du"] {
            let reply = self.ask(Caller::ROOT, "get", path, b"");
            assert_eq!(reply.status, 200);
            all.insert(path.to_owned(), reply.text());
        }
        for name in ["mine", "other"] {
            for of in ["config", "snapshots", "log", "ledger", "profile"] {
                let path = format!("/v1/zones/{name}/{of}");
                all.insert(path.clone(), self.ask(Caller::ROOT, "get", &path, b"").text());
            }
        }
        let files = fs::read_dir(self.zoned.zones()).expect("it is there").flatten();
        let files: BTreeSet<_> = files.map(|entry| entry.file_name()).collect();
        all.insert("files".into(), format!("{files:?}"));
        all
    }
}

fn filled(path: &str, name: &str) -> String {
    path.replace("{name}", name).replace("{snapshot}", "s").replace("{brand}", "linux")
}

#[test]
fn every_route_refuses_everyone_who_may_not() {
    let host = Host::new();
    let described: BTreeSet<_> = host.routes().into_iter().collect();
    let known: BTreeSet<_> = RIGHTS.iter().map(|(m, p, _)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(described, known, "every route has its right in RIGHTS");

    let mut wrong = Vec::new();
    let before = host.all_there_is();
    let stranger = [("a stranger", Caller::STRANGER, &[][..])];
    let delegates = DELEGATES.map(|(user, auths)| (user, Caller::named(user), auths));
    for (who, caller, auths) in stranger.into_iter().chain(delegates) {
        for (method, path, right) in RIGHTS {
            let body = host.body(method, path);
            let of_zone = path.starts_with("/v1/zones/{name}");
            let may = |name: &str| match right {
                Everyone => true,
                Administrators => false,
                _ if name != "mine" => false,
                Any => !auths.is_empty(),
                Manage => auths.contains(&"manage"),
                Login => auths.contains(&"login"),
                CloneFrom => auths.contains(&"clonefrom"),
            };
            let mut words = BTreeSet::new();
            for name in if of_zone { &["mine", "other", "absent"][..] } else { &["mine"] } {
                let what = format!("{method} {path} of {name} as {who}");
                // What is allowed is done in other tests, and here where it only looks.
                if may(name) && method != "get" {
                    continue;
                }
                let reply = host.ask(caller, method, &filled(path, name), &body);
                wrong.extend(host.unlike(method, path, &reply).map(|why| format!("{what}: {why}")));
                let expected = if may(name) { 200 } else { 403 };
                if reply.status != expected {
                    wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
                }
                if expected == 200 {
                    continue;
                }
                let error: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
                if error["kind"] != "not_permitted" {
                    wrong.push(format!("{what}: its kind is {}", error["kind"]));
                }
                if *name != "mine" {
                    words.insert(reply.text().replace(name, "NAME"));
                }
                // Nor does it matter what is sent along.
                for odd in [&b"{"[..], b"\xff\xfe", &[b'['; 4096], br#"{"name":-1,"to":"other"}"#] {
                    let odd = host.ask(caller, method, &filled(path, name), odd);
                    if (odd.status, odd.text()) != (403, reply.text()) {
                        wrong.push(format!("{what} with an odd body: {} {}", odd.status, odd.text()));
                    }
                }
            }
            assert!(words.len() <= 1, "{method} {path} tells {who} whether a zone is there: {words:?}");
        }
        let seen = host.ask(caller, "get", "/v1/zones?all", b"");
        let seen: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let names: Vec<_> = seen.as_array().expect("a list").iter().map(|zone| &zone["name"]).collect();
        assert_eq!(names, if auths.is_empty() { vec![] } else { vec!["mine"] }, "{who}");
        let after = host.all_there_is();
        assert!(before == after, "{who} changed something:\n{before:#?}\n{after:#?}");
    }
    nothing(wrong);
}

#[track_caller]
fn nothing(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_of_several_zones_takes_a_right_on_each() {
    let host = Host::new();
    let delegate = Caller::named("daemon");
    for (who, names, status) in [
        (delegate, "mine", 200),
        (delegate, "other", 403),
        (delegate, "mine,other", 403),
        (delegate, "absent", 403),
        (Caller::STRANGER, "mine", 403),
        (host.member, "mine,other", 200),
        (host.member, "absent", 404),
    ] {
        for path in ["/v1/events", "/v1/stat"] {
            let reply = host.ask(who, "get", &format!("{path}?names={names}"), b"");
            assert_eq!(reply.status, status, "{path} of {names} as {who:?}: {}", reply.text());
            assert_eq!(host.unlike("get", path, &reply), None);
        }
    }
    // A clone goes into a zone that is managed, or is made by an administrator.
    for (to, status) in [("other", 403), ("fresh", 403), ("absent/..", 403), ("mine", 400)] {
        let body = json!({"to": to}).to_string();
        let reply = host.ask(delegate, "post", "/v1/zones/mine/clone", body.as_bytes());
        assert_eq!(reply.status, status, "a clone to {to}: {}", reply.text());
    }
    // An init of one's own choice is a login.
    for (user, status) in [("daemon", 204), ("mail", 403)] {
        let reply = host.ask(Caller::named(user), "post", "/v1/zones/mine/boot", br#"{"init":"none"}"#);
        assert_eq!(reply.status, status, "{user}: {}", reply.text());
    }
    let reply = host.ask(Caller::named("mail"), "post", "/v1/zones/mine/halt", b"");
    assert_eq!(reply.status, 204, "{}", reply.text());
}

#[test]
fn every_route_serves_who_may() {
    let host = Host::new();
    let mut wrong = Vec::new();
    let delegates = DELEGATES.map(|(user, auths)| (Caller::named(user), auths));
    for (method, path, right) in RIGHTS {
        let mut callers = vec![Caller::ROOT, host.member];
        let wanted = match right {
            Everyone | Administrators => None,
            Any => Some(""),
            Manage => Some("manage"),
            Login => Some("login"),
            CloneFrom => Some("clonefrom"),
        };
        if let Some(wanted) = wanted {
            // Who has one right alone, where that is enough.
            let enough = delegates.iter().filter(|(_, auths)| {
                auths.len() == 1 && (wanted.is_empty() || auths == &[wanted]) && right != CloneFrom
            });
            callers.extend(enough.map(|(caller, _)| *caller));
        }
        for caller in callers {
            host.tidy();
            host.renew();
            let what = format!("{method} {path} as {caller:?}");
            let reply = host.ask(caller, method, &filled(path, "mine"), &host.body(method, path));
            wrong.extend(host.unlike(method, path, &reply).map(|why| format!("{what}: {why}")));
            if reply.status == 403 || reply.status >= 500 {
                wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
            }
        }
    }
    host.tidy();
    nothing(wrong);
}

/// Texts that no name, path, key or value is.
fn odd_texts() -> Vec<String> {
    vec![
        String::new(),
        " ".into(),
        "x".repeat(5000),
        "x".repeat(300),
        "\u{03b6}\u{03ce}\u{03bd}\u{03b7}\u{202e}\u{1f9ca}".into(),
        "a\u{0}b".into(),
        "../../etc/passwd".into(),
        "a\nb\u{1b}[31m".into(),
        "-1".into(),
        "{}%s%n$(reboot)".into(),
    ]
}

/// Values that are of a wrong type or beyond every bound.
fn odd_values() -> Vec<Value> {
    let mut deep = json!([]);
    (0..100).for_each(|_| deep = json!([deep.take()]));
    let mut odd = vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!([]),
        json!({}),
        json!(vec!["x"; 2000]),
        json!({"op": "set"}),
        deep,
    ];
    odd.extend(odd_texts().into_iter().map(Value::from));
    odd
}

/// Documents near a good one: each part of it in turn left out, or something else.
fn near(good: &Value) -> Vec<Value> {
    let mut all = odd_values();
    match good {
        Value::Object(parts) => {
            for (key, part) in parts {
                let with = |part: Option<Value>| {
                    let mut parts = parts.clone();
                    match part {
                        Some(part) => parts.insert(key.clone(), part),
                        None => parts.remove(key),
                    };
                    Value::Object(parts)
                };
                all.push(with(None));
                let inner = if part.is_object() || part.is_array() { near(part) } else { odd_values() };
                all.extend(inner.into_iter().map(|part| with(Some(part))));
            }
            let mut more = parts.clone();
            more.insert("colour".into(), json!("blue"));
            all.push(Value::Object(more));
        }
        Value::Array(parts) => {
            if let Some(first) = parts.first() {
                all.extend(near(first).into_iter().map(|part| json!([part])));
            }
        }
        _ => {}
    }
    all
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Whether a request that makes sense after all takes long: fewer are tried.
fn is_heavy(path: &str) -> bool {
    ["/doctor", "/boot", "/ready", "/install", "/run"].iter().any(|end| path.ends_with(end))
}

#[test]
fn what_makes_no_sense_is_answered_as_described() {
    let host = Host::new();
    let (mut dice, mut wrong) = (Dice::new(), Vec::new());
    for (method, path) in host.routes() {
        let operation = host.operation(&method, &path).clone();
        let mut requests: Vec<(String, Vec<u8>)> = Vec::new();
        let body = host.body(&method, &path);
        for text in odd_texts() {
            let odd = encoded(&text);
            requests.push((filled(&path, &odd), body.clone()));
            requests.push((
                path.replace("{name}", "mine").replace("{snapshot}", &odd).replace("{brand}", &odd),
                body.clone(),
            ));
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    let key = parameter["name"].as_str().expect("a name");
                    requests.push((format!("{}?{key}={odd}", filled(&path, "mine")), body.clone()));
                    requests.push((format!("{}?{key}={odd}&{key}=x", filled(&path, "mine")), body.clone()));
                }
            }
        }
        if operation["requestBody"].is_object() {
            let good: Value = serde_json::from_slice(&body).unwrap_or_default();
            let near = near(&good).into_iter().map(|odd| odd.to_string().into_bytes());
            let broken =
                [&b"{"[..], b"\xff\xfe\x00", b"nonsense = =", b"[[[[[[", b"{\"a\":1}{", b"\"\\ud800\""];
            let huge = vec![b' '; (1 << 20) + 1];
            for odd in near.chain(broken.map(<[u8]>::to_vec)).chain([huge]) {
                requests.push((filled(&path, "mine"), odd));
            }
        }
        // A cover of all of them in each run would take minutes.
        let most = if is_heavy(&path) { 20 } else { 80 };
        while requests.len() > most {
            let one = dice.below(requests.len() as u64) as usize;
            requests.swap_remove(one);
        }
        for (target, body) in requests {
            // It goes for the ones that are not there, too, once it deleted them.
            host.tidy();
            host.renew();
            let what = format!("{method} {} with {}", short(&target), short(&String::from_utf8_lossy(&body)));
            let reply = host.ask(Caller::ROOT, &method, &target, &body);
            wrong.extend(host.unlike(&method, &path, &reply).map(|why| format!("{what}: {why}")));
            if reply.status >= 500 {
                wrong.push(format!("{what}: {} {}", reply.status, reply.text()));
            }
            let stranger = host.ask(Caller::STRANGER, &method, &target, &body);
            if !matches!(stranger.status, 200 | 400 | 403 | 404) {
                wrong.push(format!("{what} as a stranger: {} {}", stranger.status, stranger.text()));
            }
        }
    }
    host.tidy();
    nothing(wrong);
}

fn short(text: &str) -> String {
    let cut: String = text.chars().take(300).collect();
    format!("{cut:?}")
}
