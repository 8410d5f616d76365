//! `zonectl image`

use std::fmt::Write as _;

use zone_api::{Image, ImageDamage, ImageDetails, ImportImage, Pruned, VerifiedImages, VerifyImages};

use super::{Context, Done};
use crate::output::{Colour, Output, Table};
use crate::progress::Reporter;
use crate::words;

/// Bring in, show, write and remove images
///
/// Zones that are installed from an image share its layers with it and with one another: zonectl install NAME image:IMAGE.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl image import docker-archive:debian.tar
  zonectl image import oci:layout:12 debian:12
  docker save debian:12 | zonectl image import docker-archive:-
  zonectl image import docker://debian:12
  zonectl image import docker://registry.example.org/team/app:1.2 app
  zonectl image list
  zonectl image show debian:12
  zonectl image export debian:12 oci-archive:debian.tar
  zonectl image export debian:12 docker-archive:- | docker load
  zonectl image rm debian:12
  zonectl image prune")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List images
    List,
    /// Bring an image in
    ///
    /// Sources: docker://[HOST[:PORT]/]NAME[:TAG] or ...@DIGEST, from a registry; oci:PATH[:TAG], a folder in OCI's image
    /// layout or an archive of one; docker-archive:PATH[:REF], as docker save and podman save write it; tar:PATH, dir:PATH and
    /// debootstrap:SUITE, which become the one layer. A PATH of - is stdin.
    Import {
        /// Where it comes from
        source: String,
        /// NAME[:TAG] [default: the name that it comes with]
        name: Option<String>,
    },
    /// Write an image to a file or a folder
    ///
    /// Destinations: oci:DIR[:TAG], a folder in OCI's image layout, which may have other images; oci-archive:FILE[:TAG];
    /// docker-archive:FILE[:NAME[:TAG]], for docker load. A FILE of - is stdout. The image's layers are those that came, to the
    /// byte.
    Export {
        /// Image, or the digest of its manifest
        name: String,
        /// Where it goes
        dest: super::image_export::Dest,
        /// gzip, zstd or none [default: gzip; none for docker-archive]
        #[arg(long, value_name = "HOW", value_parser = ["gzip", "zstd", "none"])]
        compression: Option<String>,
    },
    /// Show how an image's program is started, and how the image was made
    Show {
        /// Image, or the digest of its manifest
        name: String,
    },
    /// Take an image's name away; its layers go with the next prune, if no zone needs them
    Rm {
        /// Images
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove layers and documents that no image and no zone needs
    Prune {
        /// Only tell what would be removed
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Hold layers and documents against their digests; all without NAME
    Verify {
        /// Image
        name: Option<String>,
        /// Remove what is damaged and nobody needs
        #[arg(long)]
        repair: bool,
    },
}

pub(crate) fn run(args: Args, context: &Context<'_>) -> Done {
    match args.what {
        What::List => {
            let images = context.client.images()?;
            context.output.print(&images, || list(&images, context.output))?;
        }
        What::Import { source, name } => import(&source, name, context)?,
        What::Export { name, dest, compression } => {
            super::image_export::export(&name, &dest, compression.as_deref(), context)?;
        }
        What::Show { name } => {
            let details = context.client.image(&name)?;
            context.output.print(&details, || show(&details, context.output))?;
        }
        What::Rm { names } => {
            for name in names {
                context.client.remove_image(&name)?;
            }
        }
        What::Prune { dry_run } => {
            let pruned = context.client.prune_images(dry_run)?;
            context.output.print(&pruned, || prune(&pruned, dry_run))?;
        }
        What::Verify { name, repair } => {
            let what = name.clone().unwrap_or_else(|| "images".to_owned());
            let mut reporter = Reporter::new(&what, context.output.is_quiet() || context.output.is_json());
            let asked = VerifyImages { name, repair };
            let verified = context.client.verify_images(&asked, |progress| reporter.take(progress));
            reporter.end();
            let verified = verified?;
            context.output.print(&verified, || verify(&verified))?;
            return Ok(u8::from(verified.damage.iter().any(|damage| !damage.repaired)));
        }
    }
    Ok(0)
}

fn import(source: &str, name: Option<String>, context: &Context<'_>) -> Result<(), crate::failure::Failure> {
    let source = words::source(source)?;
    let what = name.clone().unwrap_or_else(|| "image".to_owned());
    let mut reporter = Reporter::new(&what, context.output.is_quiet() || context.output.is_json());
    let is_stream = words::is_stream(&source);
    let import = ImportImage { source, name };
    let result = if is_stream {
        context.client.import_image_from(&import, std::io::stdin(), |p| reporter.take(p))
    } else {
        context.client.import_image(&import, |p| reporter.take(p))
    };
    reporter.end();
    result?;
    if context.output.is_json() {
        let document =
            serde_json::json!({"source": import.source, "name": import.name, "notes": reporter.notes});
        context.output.document(&document)?;
    }
    Ok(())
}

/// An image's text is not to speak to the terminal.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

fn list(images: &[Image], output: &Output) -> String {
    let mut table =
        Table::new(&["NAME", "DIGEST", "CREATED", "ARCH", "LAYERS", "SIZE", "OF ITS OWN", "ZONES"]);
    for image in images {
        let digest: String = image.digest.trim_start_matches("sha256:").chars().take(12).collect();
        let created: String = image.created.as_deref().unwrap_or("-").chars().take(10).collect();
        let cells = [
            image.name.clone(),
            digest,
            plain(&created),
            plain(&image.arch),
            image.layers.len().to_string(),
            size(image.size),
            size(image.unique),
            if image.zones.is_empty() { "-".to_owned() } else { image.zones.join(", ") },
        ];
        table.row(cells.map(|c| (c, Colour::Plain)).into());
    }
    table.render(output)
}

/// Words as a shell would take them, more or less.
fn words_of(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) { word.clone() } else { format!("{word:?}") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn show(details: &ImageDetails, output: &Output) -> String {
    let ImageDetails { image, entrypoint, cmd, env, user, workdir, stop_signal, labels, history } = details;
    let mut rows: Vec<(&str, String)> = vec![
        ("digest", image.digest.clone()),
        ("arch", image.arch.clone()),
        ("created", image.created.clone().unwrap_or_else(|| "-".to_owned())),
        (
            "size",
            format!(
                "{} in {} layers, {} of them its own",
                size(image.size),
                image.layers.len(),
                size(image.unique)
            ),
        ),
        ("zones", if image.zones.is_empty() { "-".to_owned() } else { image.zones.join(", ") }),
        ("entrypoint", words_of(entrypoint)),
        ("cmd", words_of(cmd)),
    ];
    rows.extend(env.iter().map(|variable| ("env", variable.clone())));
    rows.extend(user.iter().map(|user| ("user", user.clone())));
    rows.extend(workdir.iter().map(|folder| ("workdir", folder.clone())));
    rows.extend(stop_signal.iter().map(|signal| ("stop signal", signal.clone())));
    rows.extend(labels.iter().map(|(key, value)| ("label", format!("{key}={value}"))));
    rows.extend(history.iter().map(|step| {
        let mark = if step.layer { "" } else { " (no layer)" };
        ("made by", format!("{}{mark}", step.by))
    }));
    let mut text = format!("{}\n", output.paint(Colour::Bold, &image.name));
    for (key, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "  {key:<12}{}", plain(value));
    }
    text
}

fn prune(pruned: &Pruned, dry: bool) -> String {
    let Pruned { layers, blobs, bytes } = pruned;
    let mut text = String::new();
    for id in layers.iter().chain(blobs) {
        let _ = writeln!(text, "{id}");
    }
    let verb = if dry { "would go" } else { "removed" };
    let _ = writeln!(text, "{} layers and {} documents {verb}: {}", layers.len(), blobs.len(), size(*bytes));
    text
}

fn verify(verified: &VerifiedImages) -> String {
    let VerifiedImages { layers, blobs, damage } = verified;
    let mut text = String::new();
    for ImageDamage { kind, digest, why, images, zones, repaired } in damage {
        let _ = write!(text, "{kind} {digest}: {}", plain(why));
        for (what, who) in [("images", images), ("zones", zones)] {
            if !who.is_empty() {
                let _ = write!(text, "; {what} that need it: {}", who.join(", "));
            }
        }
        text.push_str(if *repaired { "; removed\n" } else { "\n" });
    }
    let _ = writeln!(text, "{layers} layers and {blobs} documents, {} damaged", damage.len());
    text
}
