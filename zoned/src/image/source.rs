//! Where a root comes from, as the command line spells it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::ImageError;
use crate::pull::Reference;

/// Where a root comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `dir:PATH`: a folder of the host.
    Dir(PathBuf),
    /// `tar:PATH`: an archive.
    Tar(PathBuf),
    /// `tar:-`: an archive that the caller sends along.
    Stream,
    /// `image:NAME`: an image of the store.
    Image(String),
    /// `oci:PATH[:TAG]`: a folder in OCI's image layout, or an archive of one.
    Oci {
        /// Where it is; `-`: the caller sends it along.
        path: PathBuf,
        /// Which of its images.
        tag: Option<String>,
    },
    /// `docker-archive:PATH[:REF]`: an archive of `docker save`.
    DockerArchive {
        /// Where it is; `-`: the caller sends it along.
        path: PathBuf,
        /// Which of its images.
        reference: Option<String>,
    },
    /// `docker://[HOST[:PORT]/]NAME[:TAG]` or `…@DIGEST`: an image of a registry.
    Registry(Reference),
    /// `debootstrap:SUITE[,arch=…][,variant=minbase][,include=P+P][,mirror=…]`: made from a Debian mirror.
    Debootstrap(Suite),
}

impl Source {
    /// Whether the caller sends its archive along.
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Stream => true,
            Self::Oci { path, .. } | Self::DockerArchive { path, .. } => path.as_os_str() == "-",
            _ => false,
        }
    }

    /// Whether what it holds is an image: layers and how its program is started.
    pub fn is_image(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Oci { .. } | Self::DockerArchive { .. } | Self::Registry(_))
    }
}

/// `PATH[:WORD]`: a path with a colon in it that is there is taken whole.
fn path_and_word(text: &str) -> (PathBuf, Option<String>) {
    let is_there = |path: &str| std::fs::symlink_metadata(path).is_ok();
    // The word may have slashes and colons of its own, and so may the path.
    let cuts = text.match_indices(':').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let found = cuts.clone().find(|(path, word)| !word.is_empty() && (*path == "-" || is_there(path)));
    let last = || {
        cuts.clone()
            .next_back()
            .filter(|(path, word)| !path.is_empty() && !word.is_empty() && !word.contains('/'))
    };
    match if is_there(text) { None } else { found.or_else(last) } {
        Some((path, word)) => (path.into(), Some(word.to_owned())),
        None => (text.into(), None),
    }
}

/// What to make from a Debian mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// `bullseye`, `sid`…
    pub suite: String,
    /// Debian's name of the architecture: `i386` or `amd64`; the host's when left out.
    pub arch: Option<&'static str>,
    /// Essential packages and apt alone, in place of all that Debian calls important: an init, network scripts, an editor…
    pub minimal: bool,
    /// Further packages.
    pub include: Vec<String>,
    /// Mirror; the one that has the suite when left out.
    pub mirror: Option<String>,
}

/// Suites that left the mirrors for the archive.
const ARCHIVED: [&str; 10] =
    ["potato", "woody", "sarge", "etch", "lenny", "squeeze", "wheezy", "jessie", "stretch", "buster"];

impl Suite {
    /// Whether Debian has moved the suite to its archive, where no Release file is valid any more.
    pub fn is_archived(&self) -> bool {
        ARCHIVED.contains(&self.suite.as_str())
    }

    /// The mirror to take it from.
    pub fn mirror(&self) -> &str {
        match &self.mirror {
            Some(mirror) => mirror,
            None if self.is_archived() => "http://archive.debian.org/debian",
            None => "http://deb.debian.org/debian",
        }
    }
}

impl FromStr for Source {
    type Err = ImageError;

    fn from_str(given: &str) -> Result<Self, ImageError> {
        let bad = |why: &str| ImageError::BadSource { given: given.to_owned(), why: why.to_owned() };
        let Some((kind, rest)) = given.split_once(':') else {
            return Err(bad("it does not say of what kind it is"));
        };
        if rest.contains('\0') {
            return Err(bad("a zero byte in it"));
        }
        match kind {
            "dir" | "tar" | "debootstrap" | "oci" | "oci-archive" | "docker-archive" | "image"
                if rest.is_empty() =>
            {
                Err(bad("nothing after the colon"))
            }
            "dir" => Ok(Self::Dir(rest.into())),
            "tar" if rest == "-" => Ok(Self::Stream),
            "tar" => Ok(Self::Tar(rest.into())),
            "debootstrap" => suite(rest).map(Self::Debootstrap).map_err(|why| bad(&why)),
            "image" => Ok(Self::Image(rest.to_owned())),
            "docker" => given.parse().map(Self::Registry).map_err(|why: String| bad(&why)),
            "oci" | "oci-archive" => {
                let (path, tag) = path_and_word(rest);
                Ok(Self::Oci { path, tag })
            }
            "docker-archive" => {
                let (path, reference) = path_and_word(rest);
                Ok(Self::DockerArchive { path, reference })
            }
            _ => Err(bad("no such kind of source")),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Tar(path) => write!(f, "tar:{}", path.display()),
            Self::Stream => f.write_str("tar:-"),
            Self::Image(name) => write!(f, "image:{name}"),
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Oci { path, tag: word } | Self::DockerArchive { path, reference: word } => {
                let kind = if matches!(self, Self::Oci { .. }) { "oci" } else { "docker-archive" };
                write!(f, "{kind}:{}", path.display())?;
                word.as_ref().map_or(Ok(()), |word| write!(f, ":{word}"))
            }
            Self::Debootstrap(suite) => {
                write!(f, "debootstrap:{}", suite.suite)?;
                if let Some(arch) = suite.arch {
                    write!(f, ",arch={arch}")?;
                }
                if suite.minimal {
                    f.write_str(",variant=minbase")?;
                }
                if !suite.include.is_empty() {
                    write!(f, ",include={}", suite.include.join("+"))?;
                }
                if let Some(mirror) = &suite.mirror {
                    write!(f, ",mirror={mirror}")?;
                }
                Ok(())
            }
        }
    }
}

/// All of it becomes words of a command line, and the mirror a line of apt's sources: nothing in
/// it may be an option, a file name or a second line.
fn suite(text: &str) -> Result<Suite, String> {
    let mut words = text.split(',');
    let name = words.next().unwrap_or_default();
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(plain) || name.len() > 64 {
        return Err(format!("{name:?} is not the name of a suite"));
    }
    let mut made =
        Suite { suite: name.to_owned(), arch: None, minimal: false, include: Vec::new(), mirror: None };
    for word in words {
        match word.split_once('=') {
            Some(("arch", "i386" | "i486" | "i586" | "i686")) => made.arch = Some("i386"),
            Some(("arch", "amd64" | "x86_64")) => made.arch = Some("amd64"),
            Some(("arch", other)) => {
                return Err(format!("no zone has arch {other:?}: i386 and amd64 are known"));
            }
            Some(("variant", "minbase")) => made.minimal = true,
            Some(("variant", "important")) => made.minimal = false,
            Some(("variant", other)) => {
                return Err(format!("no variant {other:?}: important (the default) and minbase are known"));
            }
            Some(("include", names)) => {
                for name in names.split('+') {
                    // deb-control(5), but for `+`, which parts them here.
                    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
                    if !starts || name.len() > 128 || !name.chars().all(|c| plain(c) && c != '_') {
                        return Err(format!("{name:?} is not the name of a package"));
                    }
                    made.include.push(name.to_owned());
                }
            }
            Some(("mirror", url)) => {
                let scheme = ["http://", "https://", "file:///"].iter().any(|scheme| url.starts_with(scheme));
                if !scheme || !url.chars().all(|c| c.is_ascii_graphic()) {
                    return Err(format!("{url:?} is not the address of a mirror"));
                }
                made.mirror = Some(url.to_owned());
            }
            _ => return Err(format!("{word:?} is none of arch=, variant=, include= and mirror=")),
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_back_as_they_were_spelt() {
        for text in [
            "dir:/srv/root",
            "tar:/x/a:b.tar.gz",
            "tar:-",
            "image:debian:12",
            "docker://localhost:5000/a/b:12",
            "oci:/x/layout",
            "oci:-:latest",
            "oci:/nonexistent/layout:12",
            "docker-archive:/nonexistent/a.tar:debian:12",
            "debootstrap:bullseye",
            "debootstrap:bullseye,arch=i386,mirror=http://deb.debian.org/debian",
            "debootstrap:sid,variant=minbase,include=nginx-light+curl",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_sources_say_why() {
        for (text, why) in [
            ("", "kind"),
            ("/srv/root", "kind"),
            ("dir:", "nothing after"),
            ("oci:", "nothing after"),
            ("zip:/x", "no such kind"),
            ("docker://A", "small letters"),
            ("debootstrap:../../x", "name of a suite"),
            ("debootstrap:-help", "name of a suite"),
            ("debootstrap:sid,arch=arm64", "no zone has arch"),
            ("debootstrap:sid,mirror=--option", "address of a mirror"),
            ("debootstrap:sid,mirror=http://a\n[trusted=yes]", "address of a mirror"),
            ("debootstrap:sid,include=--option", "name of a package"),
            ("debootstrap:sid,include=", "name of a package"),
            ("debootstrap:sid,variant=huge", "no variant"),
            ("debootstrap:sid,colour=red", "none of"),
        ] {
            let error = text.parse::<Source>().unwrap_err();
            assert!(error.to_string().contains(why), "{text:?}: {error}");
            assert_eq!(error.kind(), zone_api::ErrorKind::Invalid);
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn old_suites_come_from_the_archive() {
        let Source::Debootstrap(old) = "debootstrap:squeeze".parse().unwrap() else { panic!() };
        assert!(old.is_archived() && old.mirror().contains("archive"));
        let Source::Debootstrap(new) = "debootstrap:bookworm".parse().unwrap() else { panic!() };
        assert!(!new.is_archived() && new.mirror() == "http://deb.debian.org/debian");
    }
}
