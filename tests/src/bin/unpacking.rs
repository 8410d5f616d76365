//! Prints how long an image takes to come in, beside `tar -xz`, `umoci unpack` and `podman load` of the same layer. All of them
//! take turns, and each is done when what it wrote is on the disk. Of these only tar looks at no digest.
//!
//! `cargo run --release -p zones-tests --bin unpacking [TAR [ROUNDS]]`: TAR is a root; a Debian from the mirror when it is left out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use zones_tests::{Zoned, debian};

fn run(words: &[&str]) -> Result<String> {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {}", words[0]))?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// sha256sum(1) of a file.
fn digest(path: &Path) -> Result<String> {
    let said = run(&["sha256sum", text(path)])?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

/// An image of one layer, packed as `gzip -6` does.
fn layout(dir: &Path, tar: &Path) -> Result<(PathBuf, PathBuf)> {
    let blobs = dir.join("layout/blobs/sha256");
    fs::create_dir_all(&blobs).context("make the layout")?;
    let packed = blobs.join("layer");
    let gzip = Command::new("gzip").args(["-6", "-n", "-c"]).arg(tar).stdout(File::create(&packed)?).status();
    ensure!(gzip.context("run gzip")?.success(), "gzip failed");
    let blob = |kind: &str, path: &Path| -> Result<serde_json::Value> {
        let (digest, size) = (digest(path)?, fs::metadata(path)?.len());
        fs::rename(path, blobs.join(&digest)).context("name a blob")?;
        Ok(
            json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{digest}"), "size": size}),
        )
    };
    let document = |kind: &str, value: &serde_json::Value| {
        fs::write(blobs.join("document"), value.to_string()).context("write a document")?;
        blob(kind, &blobs.join("document"))
    };
    let layer = blob("layer.v1.tar+gzip", &packed)?;
    let id = format!("sha256:{}", digest(tar)?);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [id]}});
    let config = document("config.v1+json", &config)?;
    let made = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
        "layers": [layer.clone()]});
    let mut made = document("manifest.v1+json", &made)?;
    made["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    fs::write(dir.join("layout/index.json"), json!({"schemaVersion": 2, "manifests": [made]}).to_string())?;
    fs::write(dir.join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let layer = layer["digest"].as_str().unwrap_or_default().replace("sha256:", "");
    Ok((dir.join("layout"), blobs.join(layer)))
}

/// How long `work` takes until all is on the disk.
fn timed(dir: &Path, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let sync = || run(&["sync", "-f", text(dir)]);
    sync()?;
    let begin = Instant::now();
    work()?;
    sync()?;
    Ok(begin.elapsed())
}

fn main() -> Result<()> {
    let tar = std::env::args().nth(1).map_or_else(|| debian("bookworm", "amd64"), |tar| Ok(tar.into()))?;
    let rounds: usize = std::env::args().nth(2).map_or(Ok(5), |n| n.parse()).context("ROUNDS is a number")?;
    ensure!(rounds > 0, "ROUNDS is 1 or more");
    let zoned = Zoned::try_start(Default::default())?;
    let dir = zoned.scratch();
    let (layout, layer) = layout(dir, &tar)?;
    let image = format!("{}:1", layout.display());
    let archive = dir.join("archive.tar");
    run(&["tar", "-C", text(&layout), "-cf", text(&archive), "."])?;
    let (out, store) = (dir.join("out"), dir.join("podman"));
    let podman = |words: &[&str]| {
        let (root, runroot) = (store.join("root"), store.join("run"));
        run(&[
            &["podman", "--root", text(&root), "--runroot", text(&runroot), "--storage-driver", "overlay"],
            words,
        ]
        .concat())
    };
    let mib = |path: &Path| fs::metadata(path).map_or(0, |found| found.len() >> 20);
    println!("{} MiB of files and headers, {} MiB packed", mib(&tar), mib(&layer));
    let names = ["tar -xz", "umoci unpack", "podman load", "zonectl image import"];
    let mut times = names.map(|_| Vec::new());
    for _ in 0..rounds {
        fs::create_dir(&out)?;
        times[0].push(timed(dir, || {
            run(&[
                "tar",
                "--numeric-owner",
                "--xattrs",
                "--xattrs-include=*",
                "-xzpf",
                text(&layer),
                "-C",
                text(&out),
            ])
            .map(drop)
        })?);
        fs::remove_dir_all(&out)?;
        times[1].push(timed(dir, || run(&["umoci", "unpack", "--image", &image, text(&out)]).map(drop))?);
        fs::remove_dir_all(&out)?;
        times[2].push(timed(dir, || podman(&["load", "-q", "-i", text(&archive)]).map(drop))?);
        podman(&["rmi", "-a", "-f"])?;
        times[3].push(timed(dir, || {
            let outcome = zoned.zonectl(&["-q", "image", "import", &format!("oci:{image}"), "x"]);
            ensure!(outcome.status == Some(0), "{outcome}");
            Ok(())
        })?);
        zoned.zonectl(&["image", "rm", "x"]).ok();
        zoned.zonectl(&["image", "prune"]).ok();
    }
    for (name, mut times) in names.into_iter().zip(times) {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{name:22} {:8.0} ms median, {:8.0} least, {:8.0} most", ms(median), ms(times[0]), ms(last));
    }
    let _ = run(&["umount", "-R", text(&store.join("root/overlay"))]);
    Ok(())
}
