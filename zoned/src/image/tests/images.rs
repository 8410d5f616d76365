//! Images in files: layouts and archives that are as they should be, and those that are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::manifest;
use super::*;
use crate::storage::Layers;

struct Store {
    dir: tempfile::TempDir,
    images: Images,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let layers = Layers::new(dir.path());
        layers.recover().unwrap();
        let images = Images::new(layers);
        images.recover().unwrap();
        Self { dir, images }
    }

    fn import(&self, source: &str) -> Result<Imported, ImageError> {
        import(&self.images, &source.parse()?, None, None, &|_| ())
    }

    fn stream(&self, source: &str, bytes: Vec<u8>) -> Result<Imported, ImageError> {
        import(&self.images, &source.parse()?, Some(Box::new(Cursor::new(bytes))), None, &|_| ())
    }

    fn refusal(&self, source: &str) -> String {
        let said = crate::causes::chain(&self.import(source).unwrap_err());
        assert_eq!(fs::read_dir(self.dir.path().join("images/tmp")).unwrap().count(), 0);
        said
    }
}

/// A layout in the making; what is at fault is put in by hand.
struct Layout {
    files: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    fn new() -> Self {
        Self { files: BTreeMap::from([("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())]) }
    }

    fn blob(&mut self, bytes: &[u8], kind: &str) -> Value {
        let digest = Digest::of(bytes);
        self.files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
    }

    fn image(&mut self, layers: &[&[u8]], arch: &str) -> Value {
        let ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({"architecture": arch, "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
            "config": {"Cmd": ["/bin/sh"], "Env": null, "Labels": {"a": "b"}}});
        let config = self.blob(config.to_string().as_bytes(), manifest::CONFIG);
        let layers: Vec<Value> = layers.iter().map(|layer| self.blob(layer, manifest::LAYER)).collect();
        let made = json!({"schemaVersion": 2, "config": config, "layers": layers});
        self.blob(made.to_string().as_bytes(), manifest::MANIFEST)
    }

    fn index(&mut self, manifests: &[Value]) -> &mut Self {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        self.files.insert("index.json".into(), index.to_string().into_bytes());
        self
    }

    fn write(&self, dir: &Path) -> String {
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        format!("oci:{}", dir.display())
    }

    fn tar(&self, backwards: bool) -> Vec<u8> {
        let mut files: Vec<_> = self.files.iter().collect();
        if backwards {
            files.reverse();
        }
        files
            .iter()
            .fold(Tar::default(), |tar, (name, bytes)| tar.add(name.as_bytes(), b'0', b"", bytes))
            .end()
    }
}

fn named(mut descriptor: Value, tag: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    descriptor
}

fn of_platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({"os": os, "architecture": architecture});
    descriptor
}

fn base() -> Vec<u8> {
    Tar::root().add(b"etc/os-release", b'0', b"", b"ID=x\n").end()
}

fn upper() -> Vec<u8> {
    Tar::default().add(b"etc/new", b'0', b"", b"new").end()
}

#[test]
fn a_layout_is_taken_as_a_folder_an_archive_and_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new();
    let image = layout.image(&[&base(), &upper()], "386");
    layout.index(&[named(image.clone(), "12")]);
    let source = layout.write(dir.path());
    let store = Store::new();
    let found = store.import(&source).unwrap();
    assert_eq!(found.image.manifest.to_string(), image["digest"]);
    assert_eq!((found.image.layers.len(), found.image.machine()), (2, "i686"));
    assert_eq!(found.config.config.as_ref().unwrap().cmd.as_deref(), Some(&["/bin/sh".to_owned()][..]));
    let made = |store: &Store| fs::read_dir(store.dir.path().join("images/sha256")).unwrap().count();
    assert_eq!(made(&store), 2);
    for backwards in [false, true] {
        let store = Store::new();
        let bytes = layout.tar(backwards);
        let file = dir.path().join("archive.tar");
        fs::write(&file, &bytes).unwrap();
        for packed in [bytes.clone(), zstd::encode_all(&*bytes, 1).unwrap()] {
            assert_eq!(store.stream("oci:-:12", packed).unwrap().image.manifest, found.image.manifest);
        }
        assert_eq!(
            store.import(&format!("oci:{}:12", file.display())).unwrap().image.manifest,
            found.image.manifest
        );
        assert_eq!(made(&store), 2);
    }
    // What is in the store is not asked of the source again.
    layout.files.retain(|name, _| name != &format!("blobs/sha256/{}", Digest::of(&base()).hex()));
    store.stream("oci:-", layout.tar(false)).unwrap();
    let said = Store::new().stream("oci:-", layout.tar(false)).unwrap_err().to_string();
    assert!(said.contains("it is not there"), "{said}");
}

#[test]
fn the_image_for_this_host_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new();
    let x86_64 = layout.image(&[&base()], "amd64");
    let i386 = layout.image(&[&base(), &upper()], "386");
    let unknown = layout.blob(b"{}", "application/vnd.in-toto+json");
    let inner = json!({"schemaVersion": 2, "manifests": [
        of_platform(unknown, "unknown", "unknown"),
        of_platform(i386.clone(), "linux", "386"),
        of_platform(x86_64.clone(), "linux", "arm64"),
        of_platform(x86_64.clone(), "linux", "amd64"),
    ]});
    let list = layout
        .blob(inner.to_string().as_bytes(), "application/vnd.docker.distribution.manifest.list.v2+json");
    layout.index(&[named(list, "all"), named(i386.clone(), "old")]);
    let source = layout.write(dir.path());
    let store = Store::new();
    let digest = |tag: &str, want| {
        let source = format!("{source}:{tag}").parse().unwrap();
        import(&store.images, &source, None, want, &|_| ()).unwrap().image.manifest.to_string()
    };
    assert_eq!(digest("all", None), x86_64["digest"]);
    assert_eq!(digest("all", Some("i686")), i386["digest"]);
    assert_eq!(digest("old", None), i386["digest"]);
    let said = store.refusal(&source);
    assert!(said.contains("several images, say which: all, old"), "{said}");
    let said = store.refusal(&format!("{source}:none"));
    assert!(said.contains("no image none; it has all, old"), "{said}");
}

#[test]
fn hostile_layouts_are_refused() {
    type Spoil = fn(&mut Layout) -> Vec<Value>;
    let spoils: [(&str, Spoil); 12] = [
        ("it is not there", |_| vec![json!({"digest": Digest::of(b"none"), "size": 4, "mediaType": ""})]),
        ("is no digest", |_| {
            vec![json!({"digest": "sha256:../../../../etc/passwd", "size": 4, "mediaType": ""})]
        }),
        ("only sha256", |_| vec![json!({"digest": "sha512:00", "size": 4, "mediaType": ""})]),
        ("its digest is", |layout| {
            let image = layout.image(&[&base()], "amd64");
            let path = layout.files.keys().last().unwrap().clone();
            layout.files.get_mut(&path).unwrap().push(b' ');
            for (path, bytes) in &mut layout.files {
                if path.starts_with("blobs") {
                    bytes.push(b' ');
                }
            }
            vec![image]
        }),
        ("was to have", |layout| {
            let mut image = layout.image(&[&base()], "amd64");
            image["size"] = json!(1);
            vec![image]
        }),
        ("larger than 4 MiB", |layout| vec![layout.blob(&vec![b' '; 5 << 20], manifest::MANIFEST)]),
        ("makes no sense", |layout| vec![layout.blob(b"{", manifest::MANIFEST)]),
        ("makes no sense", |layout| vec![layout.blob("[".repeat(100_000).as_bytes(), manifest::MANIFEST)]),
        ("an index in an index", |layout| {
            let mut inner = layout.image(&[&base()], "amd64");
            for _ in 0..6 {
                let index = json!({"schemaVersion": 2, "manifests": [inner]});
                inner = layout.blob(index.to_string().as_bytes(), "");
            }
            vec![inner]
        }),
        ("arm64", |layout| vec![layout.image(&[&base()], "arm64")]),
        ("more than 256 manifests", |layout| {
            let image = layout.image(&[&base()], "amd64");
            vec![image; 300]
        }),
        ("128 layers, 127 are the most", |layout| vec![layout.image(&vec![&upper()[..]; 128], "amd64")]),
    ];
    for (want, spoil) in spoils {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new();
        let manifests = spoil(&mut layout);
        layout.index(&manifests);
        let source = layout.write(dir.path());
        let store = Store::new();
        let said = store.refusal(&source);
        assert!(said.contains(want), "{want}: {said}");
        assert_eq!(store.images.layers().all().unwrap().len(), 0, "{want}");
    }
    let store = Store::new();
    for (bytes, want) in [
        (vec![], "it is empty"),
        (Tar::root().end(), "no index.json"),
        (b"PK\x03\x04....".to_vec(), "zip"),
        (Layout::new().index(&[]).tar(false)[..700].to_vec(), "cut off"),
        (Layout::new().index(&[]).tar(false), "it has no images"),
        (Tar::default().add(b"index.json", b'2', b"../../../etc/passwd", b"").end(), "no index.json"),
        (Tar::default().add(b"index.json", b'2', b"index.json", b"").end(), "in a circle"),
    ] {
        let said = crate::causes::chain(&store.stream("oci:-", bytes).unwrap_err());
        assert!(said.contains(want), "{want}: {said}");
    }
}

#[test]
fn layers_of_another_kind_and_number_are_refused() {
    for (change, want) in [
        (
            (|manifest| manifest["layers"][0]["mediaType"] = json!("text/plain")) as fn(&mut Value),
            "is not known",
        ),
        (|manifest| manifest["layers"] = json!([]), "0 layers, and its configuration 1"),
        (|manifest| drop(manifest.as_object_mut().unwrap().remove("config")), "names no configuration"),
        (|manifest| manifest["manifests"] = json!([]), "an image and an index at once"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::new();
        let image = layout.image(&[&base()], "amd64");
        let path = format!("blobs/{}", image["digest"].as_str().unwrap().replace(':', "/"));
        let mut made: Value = serde_json::from_slice(&layout.files[&path]).unwrap();
        change(&mut made);
        let image = layout.blob(made.to_string().as_bytes(), manifest::MANIFEST);
        layout.index(&[image]);
        let said = Store::new().refusal(&layout.write(dir.path()));
        assert!(said.contains(want), "{want}: {said}");
    }
}

#[test]
fn a_layer_that_is_there_twice_is_there_once_in_a_zone() {
    let dir = tempfile::tempdir().unwrap();
    let mut layout = Layout::new();
    let image = layout.image(&[&base(), &upper(), &vec![0; 1024], &upper()], "amd64");
    layout.index(&[image]);
    let found = Store::new().import(&layout.write(dir.path())).unwrap();
    let stack = found.image.stack();
    assert_eq!((found.image.layers.len(), stack.len()), (4, 3));
    assert_eq!(stack[0], Digest::of(&upper()).layer());
    assert_eq!(stack[2], Digest::of(&base()).layer());
}

/// An archive of `docker save`: its configuration by digest, each layer in a folder, links for those that are there twice.
fn saved(layers: &[(&str, Vec<u8>)], manifest: impl Fn(&str, &[String]) -> Value) -> Tar {
    let ids: Vec<Digest> = layers.iter().map(|(_, bytes)| Digest::of(bytes)).collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}})
            .to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let names: Vec<String> = layers.iter().map(|(name, _)| format!("{name}/layer.tar")).collect();
    let tar = layers
        .iter()
        .zip(&names)
        .fold(Tar::default(), |tar, ((_, bytes), name)| tar.add(name.as_bytes(), b'0', b"", bytes));
    tar.add(config_name.as_bytes(), b'0', b"", config.as_bytes()).add(
        b"manifest.json",
        b'0',
        b"",
        manifest(&config_name, &names).to_string().as_bytes(),
    )
}

fn plain(config: &str, layers: &[String]) -> Value {
    json!([{"Config": config, "RepoTags": ["foo/bar:1", "foo/bar:2"], "Layers": layers}])
}

#[test]
fn archives_of_docker_save_are_taken() {
    let store = Store::new();
    let tar = saved(&[("one", base()), ("two", upper())], plain);
    let found = store.stream("docker-archive:-", tar.clone().end()).unwrap();
    assert_eq!(found.name.as_ref().map(ToString::to_string).as_deref(), Some("foo/bar:1"));
    assert_eq!(found.image.layers, [Digest::of(&base()), Digest::of(&upper())]);
    let named = store.stream("docker-archive:-:foo/bar:2", tar.clone().end()).unwrap();
    assert_eq!((named.image.manifest, named.name.unwrap().tag()), (found.image.manifest.clone(), "2"));
    let said = store.stream("docker-archive:-:other", tar.end()).unwrap_err().to_string();
    assert!(said.contains("no one image other; it has foo/bar:1, foo/bar:2"), "{said}");
    // Its manifest was made here: of the layers as they come out again.
    let made: Value = serde_json::from_slice(&found.documents[0]).unwrap();
    assert_eq!(made["layers"][0]["size"], base().len());
    assert_eq!(made["layers"][0]["digest"], Digest::of(&base()).to_string());

    // As podman and older Dockers link them.
    let links = |config: &str, _: &[String]| json!([{"Config": config, "RepoTags": null, "Layers": ["x/layer.tar", "two/layer.tar"]}]);
    let tar = saved(&[("one", base()), ("two", upper())], links)
        .add(b"x/layer.tar", b'2', b"../y/layer.tar", b"")
        .add(b"y/layer.tar", b'2', b"/one/layer.tar", b"");
    assert_eq!(store.stream("docker-archive:-", tar.end()).unwrap().image.layers, found.image.layers);
}

/// An archive of Docker before 1.10; the first is the image's.
fn old(chain: &[(&str, &str)]) -> Tar {
    let id = |short: &str| short.repeat(32);
    let names = json!({"busybox": {"1": id(chain[0].0)}}).to_string();
    chain.iter().enumerate().fold(
        Tar::default().add(b"repositories", b'0', b"", names.as_bytes()),
        |tar, (i, (own, parent))| {
            let parent = (!parent.is_empty()).then(|| id(parent));
            let told = json!({"id": id(own), "parent": parent, "architecture": "amd64", "os": "linux",
                "created": "2014-01-01T00:00:00Z", "config": {"Cmd": ["/bin/sh"], "Image": "", "Volumes": null},
                "container_config": {"Cmd": ["/bin/sh", "-c", "#(nop) ADD"]}});
            let layer = if i + 1 == chain.len() { base() } else { upper() };
            tar.add(format!("{}/VERSION", id(own)).as_bytes(), b'0', b"", b"1.0")
                .add(format!("{}/json", id(own)).as_bytes(), b'0', b"", told.to_string().as_bytes())
                .add(format!("{}/layer.tar", id(own)).as_bytes(), b'0', b"", &layer)
        },
    )
}

#[test]
fn archives_of_the_first_dockers_are_taken() {
    let store = Store::new();
    let found = store.stream("docker-archive:-", old(&[("aa", "bb"), ("bb", "")]).end()).unwrap();
    assert_eq!(found.image.layers, [Digest::of(&base()), Digest::of(&upper())]);
    assert_eq!((found.name.unwrap().to_string().as_str(), found.image.machine()), ("busybox:1", "x86_64"));
    assert_eq!(found.config.config.unwrap().cmd.unwrap(), ["/bin/sh"]);
    assert_eq!(found.config.history.unwrap()[0].created_by.as_deref(), Some("/bin/sh -c #(nop) ADD"));
}

#[test]
fn hostile_archives_of_docker_save_are_refused() {
    let with = |layer: &'static str| {
        saved(
            &[("one", base())],
            move |config, _| json!([{"Config": config, "RepoTags": [], "Layers": [layer]}]),
        )
    };
    let text = |text: &str| Tar::default().add(b"manifest.json", b'0', b"", text.as_bytes());
    for (tar, want) in [
        (with("../../../../../etc/passwd"), "it is not there"),
        (with("/etc/passwd"), "it is not there"),
        (with("link").add(b"link", b'2', b"../../../../../../etc/passwd", b""), "it is not there"),
        (with("link").add(b"link", b'2', b"other", b"").add(b"other", b'2', b"link", b""), "in a circle"),
        (with("one"), "it is not there"),
        (with("short").add(b"short", b'0', b"", &base()[..100]), "not a tar archive"),
        (with("other").add(b"other", b'0', b"", &upper()), "its digest is"),
        (
            saved(&[("one", base())], |_, layers| json!([{"Config": "../x", "Layers": layers}])),
            "configuration ../x is not there",
        ),
        (
            saved(&[("one", base())], |config, _| json!([{"Config": config, "Layers": []}])),
            "0 layers, and its configuration 1",
        ),
        (text("[]"), "it has no images"),
        (text("{}"), "makes no sense"),
        (text(&"[".repeat(1 << 20)), "makes no sense"),
        (text(&" ".repeat(5 << 20)), "larger than 4 MiB"),
        (Tar::default().add(b"repositories", b'0', b"", b"{}"), "say which of its images"),
        (Tar::default().add(b"repositories", b'0', b"", br#"{"a":{"b":"../../etc"}}"#), "names no layer"),
        (old(&[("aa", "bb"), ("bb", "aa")]), "each other's parents"),
        (old(&[("aa", "cc")]), "is not there"),
    ] {
        let store = Store::new();
        let said = crate::causes::chain(&store.stream("docker-archive:-", tar.end()).unwrap_err());
        assert!(said.contains(want), "{want}: {said}");
        assert_eq!(store.images.layers().all().unwrap().len(), 0, "{want}");
    }
    // Of two files with one name the later counts, as for tar.
    let store = Store::new();
    let tar = saved(&[("one", base())], plain);
    let twice = Tar::default().add(b"one/layer.tar", b'0', b"", b"nonsense");
    let both = Tar([twice.0, tar.0].concat());
    store.stream("docker-archive:-", both.end()).unwrap();
}

#[test]
fn a_tar_becomes_the_one_layer_of_an_image() {
    let store = Store::new();
    let found = store.stream("tar:-", base()).unwrap();
    assert_eq!((found.image.layers.clone(), found.image.machine()), (vec![Digest::of(&base())], "i686"));
    let said = store.stream("tar:-", upper()).unwrap_err().to_string();
    assert!(said.contains("no program found"), "{said}");
}

#[test]
fn names_outlive_the_daemon_and_a_broken_file_is_moved_aside() {
    let store = Store::new();
    let found = store.stream("tar:-", base()).unwrap();
    let name: ImageName = "debian".parse().unwrap();
    let [manifest, config] = &found.documents;
    store.images.keep(&name, &found.image, &[manifest, config]).unwrap();
    let again = || {
        let images = Images::new(Arc::clone(store.images.layers()));
        images.recover().unwrap();
        images
    };
    let images = again();
    assert_eq!(images.all(), BTreeMap::from([(name.clone(), found.image.clone())]));
    let digest = found.image.manifest.to_string();
    for text in ["debian", "debian:latest", &digest, &format!("x@{digest}")] {
        assert_eq!(images.find(text).unwrap().1, found.image, "{text}");
    }
    assert!(images.find("debian:12").is_none() && images.find("../x").is_none());
    assert_eq!(images.config(&found.image).unwrap().machine(), Some("i686"));
    assert_eq!(images.prune_blobs(false).unwrap(), []);
    let blobs = store.dir.path().join("images/blobs/sha256");
    fs::write(blobs.join(found.image.config.hex()), "spoilt").unwrap();
    assert!(images.config(&found.image).unwrap_err().to_string().contains("its digest is"));
    assert!(images.forget(&name).unwrap() && !images.forget(&name).unwrap());
    assert_eq!(images.prune_blobs(false).unwrap().len(), 2);
    assert_eq!(fs::read_dir(&blobs).unwrap().count(), 0);
    let file = store.dir.path().join("images/names.json");
    for bad in ["", "{", "null", r#"{"version":9,"names":{}}"#, r#"{"version":1,"names":{"../x":{}}}"#] {
        fs::write(&file, bad).unwrap();
        assert!(again().all().is_empty() && !file.exists(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever bytes fall over in a layout: an error or an image, and nothing else.
    #[test]
    fn damaged_layouts_do_no_harm(flips in prop::collection::vec((0usize..9000, any::<u8>()), 1..8)) {
        let mut layout = Layout::new();
        let image = layout.image(&[&base(), &upper()], "amd64");
        let mut bytes = layout.index(&[named(image, "12")]).tar(false);
        for (at, to) in flips {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        let store = Store::new();
        let _ = store.stream("oci:-", bytes);
    }
}
