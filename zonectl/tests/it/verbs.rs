//! Verbs that ask and print.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::fake::{Answer, Asked, Fake};

fn zone(name: &str, state: &str, id: Option<u32>) -> Value {
    json!({"id": id, "name": name, "state": state, "path": format!("/var/lib/zoned/zones/{name}"),
        "uuid": "5c0a", "brand": "linux", "kernel": "2.6.18", "ip_type": "exclusive", "busy": null,
        "reason": null, "init_pid": null, "ephemeral": false})
}

fn error(kind: &str, why: &str) -> Value {
    json!({"kind": kind, "what": "boot z", "why": why, "hint": "zonectl install z"})
}

/// Does as it is asked, and knows the zone z.
fn agreeable(asked: &Asked) -> Answer {
    match asked.line.as_str() {
        "GET /v1/zones/z" => Answer::Json(200, zone("z", "running", Some(1))),
        line if line.starts_with("PATCH") => {
            Answer::Json(200, json!({"live": ["a"], "at_reboot": ["hostname"]}))
        }
        _ => Answer::Text(String::new()),
    }
}

#[test]
fn words_become_requests() {
    let cases: [(&[&str], &str, Value); 14] = [
        (
            &["create", "z", "--brand", "linux", "kernel=2.6.18", "attr=a=b"],
            "POST /v1/zones",
            json!({"name": "z", "toml": null, "edits": [
                {"op": "set", "key": "brand", "value": "linux"},
                {"op": "set", "key": "kernel", "value": "2.6.18"},
                {"op": "set", "key": "attr", "value": "a=b"}]}),
        ),
        (
            &["set", "z", "a=1", "b=x=y"],
            "PATCH /v1/zones/z/config",
            json!([{"op": "set", "key": "a", "value": "1"}, {"op": "set", "key": "b", "value": "x=y"}]),
        ),
        (&["unset", "z", "a"], "PATCH /v1/zones/z/config", json!([{"op": "unset", "key": "a"}])),
        (
            &["add", "z", "fs", "dir=/a", "special=/b"],
            "PATCH /v1/zones/z/config",
            json!([{"op": "add", "resource": "fs", "properties": {"dir": "/a", "special": "/b"}}]),
        ),
        (
            &["remove", "z", "capped-cpu"],
            "PATCH /v1/zones/z/config",
            json!([{"op": "remove", "resource": "capped-cpu", "properties": {}}]),
        ),
        (&["delete", "z"], "DELETE /v1/zones/z", Value::Null),
        (&["delete", "-F", "z"], "DELETE /v1/zones/z?force=true", Value::Null),
        (&["uninstall", "z", "-F"], "POST /v1/zones/z/uninstall?force=true", Value::Null),
        (&["boot", "z"], "POST /v1/zones/z/boot", json!({"init": null, "args": null})),
        (
            &["boot", "z", "-i", "/bin/sh", "--", "-c", "x"],
            "POST /v1/zones/z/boot",
            json!({"init": "/bin/sh", "args": ["-c", "x"]}),
        ),
        (&["ready", "z"], "POST /v1/zones/z/ready", json!({"init": null, "args": null})),
        (&["halt", "z"], "POST /v1/zones/z/halt", Value::Null),
        (
            &["shutdown", "z", "-r", "-t", "9"],
            "POST /v1/zones/z/shutdown",
            json!({"reboot": true, "timeout": 9}),
        ),
        (&["reboot", "z"], "POST /v1/zones/z/reboot", Value::Null),
    ];
    for (words, line, body) in cases {
        let fake = Fake::new(agreeable);
        fake.run(words).code(0);
        let asked = fake.asked();
        assert_eq!(asked.len(), 1, "{words:?}");
        assert_eq!(asked[0].line, line);
        let sent = if asked[0].body.is_empty() { Value::Null } else { asked[0].json() };
        assert_eq!(sent, body, "{words:?}");
    }
}

#[test]
fn programs_get_one_document_and_people_what_needs_a_reboot() {
    let fake = Fake::new(agreeable);
    assert_eq!(fake.run(&["boot", "z"]).code(0).out, "");
    assert_eq!(fake.run(&["boot", "z", "--json"]).code(0).json()["state"], "running");
    let set = fake.run(&["set", "z", "a=1"]).code(0).out;
    assert_eq!(set, "z: in effect now: a\nz: takes effect at the next reboot: hostname\n");
    assert_eq!(fake.run(&["-q", "set", "z", "a=1"]).code(0).out, "");
    let document = json!({"name": "z", "live": ["a"], "at_reboot": ["hostname"]});
    assert_eq!(fake.run(&["--json", "set", "z", "a=1"]).code(0).json(), document);
    assert_eq!(fake.run(&["delete", "z", "--json"]).code(0).json(), json!({"name": "z", "deleted": true}));
}

#[test]
fn errors_have_a_sentence_a_hint_and_an_exit_code() {
    let kinds = [
        ("failed", 500, 1),
        ("invalid", 400, 2),
        ("no_such_zone", 404, 3),
        ("wrong_state", 409, 4),
        ("not_permitted", 403, 6),
    ];
    for (kind, status, code) in kinds {
        let fake = Fake::new(move |_| Answer::Json(status, error(kind, "it is configured")));
        let plain = fake.run(&["boot", "z"]).code(code);
        assert_eq!(plain.err, "zonectl: boot z: it is configured\nhint: zonectl install z\n");
        assert_eq!(plain.out, "");
        let document = fake.run(&["boot", "z", "--json"]).code(code);
        assert_eq!(document.json(), json!({"error": error(kind, "it is configured")}));
        let session = fake.run(&["login", "z", "true"]).code(code);
        assert!(session.err.starts_with("zonectl: boot z: it is configured\n"), "{}", session.err);
    }
}

#[test]
fn no_zoned_and_a_zoned_that_goes_away_are_5() {
    let fake = Fake::new(|_| Answer::Nothing);
    for words in [&["list"][..], &["boot", "z"], &["login", "z"], &["install", "z", "dir:/x"]] {
        assert!(fake.run(words).code(5).err.starts_with("zonectl: "), "{words:?}");
    }
    let none = fake.run(&["--socket", "/nonexistent/s", "list", "--json"]).code(5);
    assert_eq!(none.json()["error"]["kind"], "unreachable");
    assert!(none.err.contains("/nonexistent/s: no such file or directory"), "{}", none.err);
    assert!(none.err.contains("hint: "), "{}", none.err);
}

#[test]
fn wrong_words_are_2() {
    let fake = Fake::new(agreeable);
    for words in [
        &[][..],
        &["fly"],
        &["boot"],
        &["set", "z"],
        &["set", "z", "novalue"],
        &["add", "z", "fs", "dir=/a", "dir=/b"],
        &["run", "uname"],
        &["list", "-c", "-i"],
        &["shutdown", "z", "-t", "soon"],
    ] {
        fake.run(words).code(2);
    }
    assert_eq!(fake.lines(), [""; 0]);
    let document = fake.run(&["--json", "boot"]).code(2).json();
    assert_eq!(document["error"]["kind"], "invalid");
    assert!(fake.run(&["help"]).code(0).out.contains("zonectl run --kernel"));
    assert!(fake.run(&["boot", "--help"]).code(0).out.contains("Example"));
    assert!(fake.run(&["--version"]).code(0).out.starts_with("zonectl "));
}

#[test]
fn lists() {
    let fake = Fake::new(|_| {
        let mut dead = zone("dead", "installed", None);
        dead["reason"] = json!("its monitor was killed by signal 9");
        let all = [zone("z", "running", Some(3)), dead, zone("new", "configured", None)];
        Answer::Json(200, json!(all))
    });
    let table = fake.run(&["list"]).code(0).out;
    assert_eq!(
        table,
        "ID  NAME  STATUS   PATH                    BRAND  IP\n\
         3   z     running  /var/lib/zoned/zones/z  linux  exclusive\n"
    );
    let all = fake.run(&["list", "-c"]).code(0).out;
    assert_eq!(all.lines().count(), 4);
    assert!(all.contains("its monitor was killed by signal 9") && !all.contains('\x1b'), "{all}");
    let lines = fake.run(&["list", "-ip"]).code(0).out;
    assert_eq!(
        lines,
        "3:z:running:/var/lib/zoned/zones/z:5c0a:linux:exclusive\n\
         -:dead:installed:/var/lib/zoned/zones/dead:5c0a:linux:exclusive\n"
    );
    let document = fake.run(&["list", "-c", "--json"]).code(0).json();
    assert_eq!(document[1]["reason"], "its monitor was killed by signal 9");
    assert_eq!(fake.run(&["list", "new", "--json"]).code(0).json()[0]["name"], "new");
    assert!(fake.run(&["list", "z", "nobody"]).code(3).err.contains("nobody"));
}

#[test]
fn configurations_come_as_text_and_as_documents() {
    let toml = "name = \"z\"\n[[fs]]\ndir = \"/a\"\n";
    let fake = Fake::new(move |asked| match asked.line.as_str() {
        "GET /v1/zones/z/get?key=hostname" => Answer::Text("pay".into()),
        _ => Answer::Text(toml.into()),
    });
    assert_eq!(fake.run(&["get", "z", "hostname"]).code(0).out, "pay\n");
    assert_eq!(fake.run(&["get", "z"]).code(0).out, toml);
    assert_eq!(fake.run(&["export", "z"]).code(0).out, toml);
    let get = fake.run(&["get", "z", "hostname", "--json"]).code(0).json();
    assert_eq!(get, json!({"name": "z", "key": "hostname", "value": "pay"}));
    let all = fake.run(&["get", "z", "--json"]).code(0).json();
    assert_eq!(all, json!({"name": "z", "config": {"name": "z", "fs": [{"dir": "/a"}]}}));
    assert_eq!(fake.run(&["export", "z", "--json"]).code(0).json(), json!({"name": "z", "toml": toml}));
    let lines = ["/get?key=hostname", "/get", "/config", "/get?key=hostname", "/get", "/config"];
    assert_eq!(fake.lines(), lines.map(|l| format!("GET /v1/zones/z{l}")));
}

#[test]
fn create_takes_a_file_and_stdin() {
    let fake = Fake::new(agreeable);
    fake.feed(&["create", "z", "-f", "-"], b"brand = \"linux\"\n".to_vec()).code(0);
    assert_eq!(fake.asked()[0].json()["toml"], "brand = \"linux\"\n");
    let missing = fake.run(&["create", "z", "-f", "/nonexistent.toml"]).code(1);
    assert_eq!(missing.err, "zonectl: read /nonexistent.toml: no such file or directory\n");
}

#[test]
fn install_tells_its_progress() {
    let steps = || {
        vec![
            json!({"event": "step", "step": "unpacking", "total": 3_145_728}),
            json!({"event": "at", "done": 100_000}),
            json!({"event": "note", "text": "left out 2 device nodes"}),
            json!({"event": "done"}),
        ]
    };
    let fake = Fake::new(move |asked| match asked.line.as_str() {
        "POST /v1/zones/z/install" => Answer::Lines(steps()),
        _ => agreeable(asked),
    });
    let lines = fake.run(&["install", "z", "tar:a.tar"]).code(0);
    assert_eq!(lines.err, "z: unpacking (3.00 MiB)\nz: left out 2 device nodes\n");
    assert_eq!(lines.out, "");
    let here = std::env::current_dir().unwrap();
    assert_eq!(fake.asked()[0].json(), json!({"source": format!("tar:{}/a.tar", here.display())}));
    assert_eq!(fake.run(&["-q", "install", "z", "dir:/x"]).code(0).err, "");
    let document = fake.run(&["--json", "install", "z", "dir:/x"]).code(0);
    assert_eq!(document.json()["notes"], json!(["left out 2 device nodes"]));
    assert_eq!(document.json()["zone"]["name"], "z");
    assert_eq!(document.err, "");
}

#[test]
fn an_install_that_fails_or_breaks_off_says_so() {
    let failed = Fake::new(|_| {
        Answer::Lines(vec![json!({"event": "failed", "error": error("wrong_state", "it is running")})])
    });
    assert!(failed.run(&["install", "z", "dir:/x"]).code(4).err.contains("it is running"));
    for broken in [Answer::BrokenLines as fn(_) -> _, Answer::Lines] {
        let fake = Fake::new(move |_| broken(vec![json!({"event": "step", "step": "a", "total": null})]));
        fake.run(&["install", "z", "dir:/x"]).code(5);
    }
}

#[test]
fn an_archive_streams_from_stdin() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 % 251) as u8).collect();
    let fake = Fake::new(|_| Answer::Lines(vec![json!({"event": "done"})]));
    fake.feed(&["install", "z", "tar:-"], bytes.clone()).code(0);
    let asked = &fake.asked()[0];
    assert_eq!(asked.line, "POST /v1/zones/z/install?source=tar%3A-");
    assert!(asked.body == bytes);
}

#[test]
fn a_refusal_does_not_wait_for_the_rest_of_the_archive() {
    let fake = Fake::new(|_| Answer::Early(409, error("wrong_state", "it is installed")));
    let mut command = fake.command(&["install", "z", "tar:-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More than all buffers on the way hold, and no end.
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || while stdin.write_all(&[0; 65536]).is_ok() {});
    assert_eq!(child.wait().unwrap().code(), Some(4));
    feeding.join().unwrap();
}

#[test]
fn verify_and_doctor_exit_1_when_it_does_not_go() {
    let fake = Fake::new(|asked| match asked.line.as_str() {
        "POST /v1/zones/z/verify" => {
            Answer::Json(200, json!({"ok": false, "findings": ["there is no init"]}))
        }
        _ => Answer::Json(
            200,
            json!([{"what": "user namespaces", "verdict": "ok", "found": "15000", "why": "zones"},
                {"what": "btrfs", "verdict": "missing", "found": "ext4", "why": "snapshots copy"},
                {"what": "seccomp", "verdict": "fatal", "found": "", "why": "brands need it"}]),
        ),
    });
    let verified = fake.run(&["verify", "z"]).code(1);
    assert_eq!(verified.out, "z: there is no init\nz: would not boot\n");
    assert_eq!(fake.run(&["verify", "z", "--json"]).code(1).json()["ok"], false);
    let doctor = fake.run(&["doctor"]).code(1).out;
    assert_eq!(
        doctor,
        "ok       user namespaces  15000\n\
         missing  btrfs            ext4: snapshots copy\n\
         fatal    seccomp          brands need it\n"
    );
}

#[test]
fn logs_and_brands() {
    let fake = Fake::new(|asked| match asked.line.as_str() {
        "GET /v1/zones/z/log" => Answer::Json(200, json!([{"time": 951_782_400, "text": "booted"}])),
        "GET /v1/brands" => {
            Answer::Json(200, json!([{"name": "native", "summary": "as it is", "levels": null, "rows": []}]))
        }
        _ => Answer::Json(
            200,
            json!({"name": "linux", "summary": "another age", "levels": ["2.0.36", "6.1"], "rows": [
                {"call": "uname", "abis": ["x86_64", "i386"], "answer": "emulate", "when": null,
                 "levels": null, "why": "tells the level", "gaps": null}]}),
        ),
    });
    assert_eq!(fake.run(&["log", "z"]).code(0).out, "2000-02-29T00:00:00Z  booted\n");
    assert_eq!(
        fake.run(&["brand", "list"]).code(0).out,
        "BRAND   LEVELS  SUMMARY\nnative  -       as it is\n"
    );
    let show = fake.run(&["brand", "show", "linux"]).code(0).out;
    assert!(show.starts_with("linux: another age\nlevels: 2.0.36..6.1\n"), "{show}");
    assert!(show.contains("uname  x86_64,i386  -       emulate  -     tells the level\n"), "{show}");
    assert_eq!(fake.run(&["brand", "show", "linux", "--json"]).code(0).json()["rows"][0]["call"], "uname");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let fake = Fake::new(|_| Answer::Text("x".repeat(1 << 20)));
    let mut child =
        fake.command(&["export", "z"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = fake.command(&["export", "z"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no space left"));
}

#[test]
fn completions_are_scripts_and_every_verb_has_a_page() {
    let fake = Fake::new(agreeable);
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("bash");
    std::fs::write(&script, fake.run(&["completions", "bash"]).code(0).out).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
    let pages = folder.path().join("man/man1");
    fake.run(&["man", pages.to_str().unwrap()]).code(0);
    for page in ["zonectl", "zonectl-create", "zonectl-login", "zonectl-man"] {
        let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    let document = fake.run(&["man", pages.to_str().unwrap(), "--json"]).code(0).json();
    let written = std::fs::read_dir(&pages).unwrap().count();
    assert_eq!(document["files"].as_array().unwrap().len(), written);
    assert!(written > 28, "{written} pages");
    assert_eq!(fake.lines(), [""; 0]);
}

/// An $EDITOR that is a script.
fn editor(folder: &std::path::Path, script: &str) -> String {
    let path = folder.join("editor");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn edit_sends_what_the_editor_left_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = |fake: &Fake, script: &str| {
        let editor = editor(folder.path(), script);
        let mut command = fake.command(&["edit", "z"]);
        command.env_remove("VISUAL").env("EDITOR", format!("{editor} --wait")).env("TMPDIR", folder.path());
        crate::fake::Outcome::from(command.stdin(Stdio::null()).output().unwrap())
    };
    let kept = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == "toml")).collect::<Vec<_>>()
    };
    let change = "[ \"$1\" = --wait ] && sed -i s/old/new/ \"$2\"";
    let good = Fake::new(|asked| match asked.line.split(' ').next() {
        Some("PUT") => Answer::Json(200, json!({"live": [], "at_reboot": ["hostname"]})),
        _ => Answer::Text("hostname = \"old\"\n".into()),
    });
    assert_eq!(run(&good, change).code(0).out, "z: takes effect at the next reboot: hostname\n");
    let put = good.asked().into_iter().find(|a| a.line.starts_with("PUT")).unwrap();
    assert_eq!((put.line.as_str(), put.text().as_str()), ("PUT /v1/zones/z/config", "hostname = \"new\"\n"));
    assert_eq!(run(&good, "true").code(0).out, "z: nothing changed\n");
    assert_eq!(kept(), [""; 0].map(std::path::PathBuf::from));

    let bad = Fake::new(|asked| match asked.line.split(' ').next() {
        Some("PUT") => Answer::Json(400, error("invalid", "z.toml, line 1: no key hostnme")),
        _ => Answer::Text("hostname = \"old\"\n".into()),
    });
    let refused = run(&bad, change).code(2);
    assert_eq!(kept().len(), 1);
    assert!(refused.err.contains(kept()[0].to_str().unwrap()), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&kept()[0]).unwrap(), "hostname = \"new\"\n");
    run(&bad, "exit 3").code(1);
    assert_eq!(kept().len(), 2);
}
