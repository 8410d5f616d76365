use std::collections::BTreeMap;

use proptest::prelude::*;
use zone_api::Edit;

use super::*;

/// The example of the reference.
const FULL: &str = r#"# payroll, do not touch
name = "payroll"
brand = "linux"
kernel = "2.6.18"            # the level
arch = "i686"
strict = false
autoboot = false
init = "auto"
bootargs = []
hostname = "payroll"
hostid = "0x1a2b3c4d"
ip-type = "exclusive"
max-processes = 512
limit-privileges = ["default", "!net_raw"]

[capped-cpu]
ncpus = 1.5
[capped-memory]
physical = "512M"
swap = "0"

[[net]]
physical = "zones0"
address = "10.88.0.10/16"
[[fs]]
dir = "/data"
special = "/srv/payroll"
type = "bind"
options = ["ro"]
[[device]]
match = "/dev/fuse"
[[rctl]]
name = "nofile"
value = "1024:4096"
[[attr]]
name = "owner"
type = "string"
value = "finance"
[[admin]]
user = "anna"
auths = ["login", "manage"]
"#;

fn set(key: &str, value: &str) -> Edit {
    Edit::Set { key: key.into(), value: value.into() }
}

fn unset(key: &str) -> Edit {
    Edit::Unset { key: key.into() }
}

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn add(resource: &str, pairs: &[(&str, &str)]) -> Edit {
    Edit::Add { resource: resource.into(), properties: properties(pairs) }
}

fn remove(resource: &str, pairs: &[(&str, &str)]) -> Edit {
    Edit::Remove { resource: resource.into(), properties: properties(pairs) }
}

#[test]
fn the_reference_example_is_valid_and_survives_a_round_trip() {
    let config = Config::parse(FULL, "x").unwrap();
    assert_eq!(config.kernel.as_deref(), Some("2.6.18"));
    assert_eq!(config.capped_cpu.as_ref().unwrap().ncpus, 1.5);
    let again = Config::parse(&toml::to_string(&config).unwrap(), "x").unwrap();
    assert_eq!(again, config);
}

#[test]
fn a_name_is_enough() {
    let config = Config::parse("name = \"a\"", "x").unwrap();
    assert_eq!((config.brand.as_str(), config.ip_type), ("linux", IpType::Exclusive));
    assert_eq!(config.limit_privileges, ["default"]);
}

#[test]
fn what_is_no_toml_is_an_error() {
    // A parser went on after the first error and met a value that had no place.
    for text in ["=[[{o s[]h}\n{.", "name = \"a\"\n=[[{o s[]h}\n{.b", "a =\na.b = 1"] {
        assert!(matches!(Config::parse(text, "x"), Err(ConfigError::Invalid { .. })), "{text}");
        assert!(apply(text, &[], "x").is_err() && edit::rename(text, "b").is_err());
    }
}

#[test]
fn errors_name_file_line_and_key() {
    for (text, says) in [
        ("", "x: name: it is missing"),
        ("name = \"a\"\nkernl = \"2.6.18\"", "x:2: kernl: unknown key; did you mean kernel?"),
        (
            "name = \"a\"\n[capped-memory]\nphysicl = \"1M\"",
            "x:3: capped-memory.physicl: unknown key; did you mean physical?",
        ),
        ("name = \"a\"\n\n[[fs]]\ndir = \"/d\"\n", "x:3: fs.special: it is missing"),
        (
            "name = \"a\"\n[[fs]]\ndir = \"/d\"\nspecial = \"/s\"\noption = [\"ro\"]",
            "x:5: fs.option: unknown key; did you mean options?",
        ),
        (
            "name = \"a\"\nfs = [{ dir = \"d\", special = \"/s\" }]",
            "x:2: fs.dir: \"d\" is not an absolute path",
        ),
        (
            "name = \"a\"\nbrand = \"linus\"",
            "x:2: brand: \"linus\" is no brand known here; did you mean linux?",
        ),
        (
            "name = \"a\"\nkernel = \"99.0\"",
            "x:2: kernel: there is no kernel release 99.0; the nearest is 7.2",
        ),
        ("name = \"a\"\nbrand = \"native\"\nkernel = \"2.6.18\"", "x:3: kernel: brand native has no levels"),
        ("name = \"a\"\nstrict = \"yes\"", "x:2: strict: it must be true or false"),
        ("name = \"a\"\nstrict = true", "x:2: strict: it needs a level to be strict about; set kernel"),
        ("name = \"a\"\nhost-kernel = \"7.2\"", "x:2: host-kernel: 7.2 is newer than this host's kernel"),
        ("name = \"a\"\nhost-kernel = \"2.6.32\"", "x:2: host-kernel: 2.6.32 is older than 3.2"),
        ("name = \"a\"\nhost-kernel = \"4.99\"", "x:2: host-kernel: there is no kernel release 4.99"),
        (
            "name = \"a\"\nbrand = \"native\"\nhost-kernel = \"4.18\"",
            "x:3: host-kernel: brand native takes the host's kernel as it is",
        ),
        (
            "name = \"a\"\nbrand = \"native\"\nvsyscall = \"rewrite\"",
            "x:3: vsyscall: brand native leaves programs as they are",
        ),
        ("name = \"a\"\nmax-processes = 0", "x:2: max-processes: it must be a whole number, 1 or more"),
        ("name = \"a\"\n[capped-cpu]\nncpus = -1.0", "x:3: capped-cpu.ncpus: it must be a number above 0"),
        ("name = \"a\"\n[capped-cpu]\n", "x:2: capped-cpu.ncpus: it is missing"),
        ("name = \"a\"\nip-type = \"none\"\n[[net]]\nphysical = \"zones0\"", "x:3: net: interfaces need"),
        (
            "name = \"a\"\n[[rctl]]\nname=\"core\"\nvalue=\"1\"\n[[rctl]]\nname=\"core\"\nvalue=\"2\"",
            "x:5: rctl: core is there twice",
        ),
        ("name = \"a\"\n[[attr]]\nname=\"n\"\ntype=\"int\"\nvalue=\"z\"", "x:2: attr.value: \"z\" is no int"),
        ("name = \"global\"", "x:1: name: global is the host itself"),
        ("name = \"a\"\nname = \"b\"", "x:2: duplicate key"),
        ("name = \"a\"\nbrand", "x:2: "),
        (
            "name = \"a\"\nlimit-privileges = [\n  \"default\",\n  \"sys_admn\",\n]",
            "x:4: limit-privileges: \"sys_admn\" is no capability known here; did you mean sys_admin?",
        ),
    ] {
        let error = Config::parse(text, "x").unwrap_err().to_string();
        assert!(error.starts_with(says), "{text}\n  said {error}\n  not  {says}");
    }
}

#[test]
fn a_file_is_of_the_zone_that_it_is_called_after() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.toml");
    std::fs::write(&path, "# one\nname = \"a\"\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("b.toml:2: name: it says \"a\" in the file of zone b"), "{error}");
    assert!(Config::load(&dir.path().join("c.toml")).is_err());
}

#[test]
fn edits_keep_comments_and_order() {
    let (text, config) = apply(
        FULL,
        &[
            set("kernel", "2.4.20"),
            set("capped-memory.physical", "1G"),
            set("max-processes", "64"),
            set("bootargs", "single, quiet"),
            set("limit-privileges", "[\"default\", \"!mknod\"]"),
            set("capped-cpu.ncpus", "2"),
            unset("hostid"),
            unset("capped-memory.swap"),
            add("device", &[("match", "/dev/kvm")]),
            remove("rctl", &[("name", "nofile")]),
        ],
        "x",
    )
    .unwrap();
    assert!(text.starts_with("# payroll, do not touch\nname = \"payroll\"\n"), "{text}");
    assert!(text.contains("kernel = \"2.4.20\"            # the level\n"), "{text}");
    assert!(text.contains("bootargs = [\"single\", \"quiet\"]"), "{text}");
    assert!(!text.contains("hostid") && !text.contains("swap") && !text.contains("rctl"), "{text}");
    assert_eq!(config.capped_memory.unwrap().physical.as_deref(), Some("1G"));
    assert_eq!(config.device.len(), 2);
    assert_eq!(config.limit_privileges, ["default", "!mknod"]);
}

#[test]
fn a_new_key_goes_above_the_tables() {
    let (text, config) =
        apply("name = \"a\"\n\n[[net]]\nphysical = \"zones0\"\n", &[set("autoboot", "true")], "x").unwrap();
    assert!(config.autoboot, "{text}");
    let (_, config) =
        apply("name = \"a\"\n", &[set("capped-memory.swap", "1G"), set("autoboot", "true")], "x").unwrap();
    assert!(config.autoboot);
    let (text, config) = apply(
        "name = \"a\"\nnet = [{ physical = \"b0\" }]\n",
        &[add("net", &[("physical", "b1")]), set("autoboot", "true")],
        "x",
    )
    .unwrap();
    assert_eq!(config.net.len(), 2, "{text}");
}

#[test]
fn emptied_tables_go_away() {
    let (text, config) = apply(
        FULL,
        &[unset("capped-cpu.ncpus"), unset("capped-memory.physical"), unset("capped-memory.swap")],
        "x",
    )
    .unwrap();
    assert!(config.capped_cpu.is_none() && config.capped_memory.is_none(), "{text}");
    let (_, config) = apply(FULL, &[remove("capped-cpu", &[]), unset("attr")], "x").unwrap();
    assert!(config.capped_cpu.is_none() && config.attr.is_empty());
}

#[test]
fn edits_that_cannot_be() {
    for (edit, says) in [
        (set("kernl", "1"), "set kernl: unknown key; did you mean kernel?"),
        (set("name", "b"), "set name: a zone keeps its name"),
        (unset("name"), "unset name: it cannot be without a value"),
        (set("net", "b"), "set net: there can be several; use add and remove"),
        (set("net.physical", "b"), "set net.physical: there can be several net; use add and remove"),
        (set("brand.x", "b"), "set brand.x: brand has no keys of its own"),
        (set("capped-cpu", "2"), "set capped-cpu: it has keys of its own: set capped-cpu.KEY=VALUE"),
        (set("strict", "maybe"), "set strict: \"maybe\" is not true or false"),
        (set("bootargs", "[1]"), "set bootargs: \"[1]\" is not a list of texts"),
        (set("max-processes", "-4"), "set max-processes: \"-4\" is not a whole number, 1 or more"),
        (add("nets", &[]), "add nets: unknown resource; did you mean net?"),
        (add("fs", &[("dir", "/d")]), "add fs: special is missing"),
        (add("fs", &[("dirr", "/d")]), "add fs: dirr: unknown key; did you mean dir?"),
        (add("capped-memory", &[]), "add capped-memory: it needs a property"),
        (add("capped-cpu", &[("ncpus", "1")]), "add capped-cpu: it is there already"),
        (remove("fs", &[("dir", "/other")]), "remove fs: none is like that"),
        (remove("capped-cpu", &[("ncpus", "7")]), "remove capped-cpu: it is not like that"),
        (set("arch", "sparc"), "x:5: arch: \"sparc\" is no arch known here"),
    ] {
        let error = apply(FULL, std::slice::from_ref(&edit), "x").unwrap_err().to_string();
        assert!(error.starts_with(says), "{edit:?}\n  said {error}\n  not  {says}");
    }
    let two = add("net", &[("physical", "zones0")]);
    let error = apply(FULL, &[two, remove("net", &[("physical", "zones0")])], "x").unwrap_err().to_string();
    assert!(error.starts_with("remove net: 2 are like that"), "{error}");
}

#[test]
fn get_answers_as_set_takes() {
    let config = Config::parse(FULL, "x").unwrap();
    for (key, shown) in [
        ("brand", Some("linux")),
        ("strict", Some("false")),
        ("limit-privileges", Some("default,!net_raw")),
        ("capped-memory.physical", Some("512M")),
        ("capped-cpu.ncpus", Some("1.5")),
        ("max-processes", Some("512")),
        ("init", Some("auto")),
    ] {
        assert_eq!(get(&config, key).unwrap().as_deref(), shown, "{key}");
    }
    let bare = Config::parse("name = \"a\"", "x").unwrap();
    assert_eq!(get(&bare, "kernel").unwrap(), None);
    assert!(get(&bare, "colour").is_err());
}

#[test]
fn changes_are_live_or_wait() {
    let before = Config::parse(FULL, "x").unwrap();
    let edits = [set("kernel", "2.4.20"), set("capped-memory.physical", "1G"), set("autoboot", "true")];
    let (_, after) = apply(FULL, &edits, "x").unwrap();
    let edited = changes(&before, &after);
    assert_eq!(edited.live, ["autoboot", "capped-memory"]);
    assert_eq!(edited.at_reboot, ["kernel"]);
    assert_eq!(changes(&before, &before), zone_api::Edited::default());
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        drop(Config::parse(&text, "x"));
    }

    #[test]
    fn no_mixture_of_keys_and_values_panics(
        key in "(name|brand|kernel|fs|net|capped-cpu|rctl|bootargs|hostid)",
        value in "(1|-1|true|\"é\"|\"\"|\\[\\]|\\[1\\]|\\{\\}|\\{a=1\\}|\\[\\{\\}\\]|nan|inf|1979-05-27)",
    ) {
        drop(Config::parse(&format!("name = \"a\"\n{key} = {value}\n"), "x"));
    }

    #[test]
    fn no_edit_panics_and_every_result_is_valid(key in "[a-z.-]{0,20}", value in "\\PC{0,20}") {
        if let Ok((text, _)) = apply(FULL, &[set(&key, &value)], "x") {
            prop_assert!(Config::parse(&text, "x").is_ok());
        }
    }

    #[test]
    fn what_is_set_is_got(value in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,30}") {
        let (_, config) = apply(FULL, &[set("hostname", &value)], "x").unwrap();
        prop_assert_eq!(get(&config, "hostname").unwrap(), Some(value));
    }
}
