//! Names of images in registries: `docker://[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

/// Where names without a host are looked for.
const HUB: &str = "docker.io";

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// With its port, where it has one.
    pub host: String,
    /// Path in the registry.
    pub path: String,
    /// Tag; with a digest it says nothing more.
    pub tag: Option<String>,
    /// `sha256:HEX`
    pub digest: Option<String>,
}

/// Letters and digits in groups, with `.`, `_`, `__` or dashes between (OCI distribution specification).
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = |part: &str| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|b| b == b'-');
    text.starts_with(is_plain) && text.ends_with(is_plain) && text.split(is_plain).all(separators)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(is_word) && text.len() <= 128 && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

/// `sha256:` and 64 hex digits.
pub(super) fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `example.org`, `localhost:5000`, `[::1]:5000`
pub(crate) fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_label = |label: &str| {
        let is_word = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_word && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(is_label) && name.len() <= 253,
    };
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| Err(why.to_owned());
        let rest = text.strip_prefix("docker://").unwrap_or(text);
        if rest.len() > 512 {
            return bad("it is longer than 512 characters");
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return bad("what follows the @ is not sha256: and 64 hex digits"),
            None => (rest, None),
        };
        // A colon before the last slash is a port's.
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return bad("its tag must be letters, digits, _, . and -, 128 at most");
        }
        let names_host = |first: &str| {
            first == "localhost"
                || first.contains(['.', ':', '['])
                || first.bytes().any(|b| b.is_ascii_uppercase())
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) if names_host(host) => (host, path),
            _ => (HUB, rest),
        };
        if !is_host(host) {
            return bad("what stands before the first slash is no host");
        }
        // As they are found by, whatever they are called by.
        let host = if host == "index.docker.io" { HUB } else { host };
        if !path.split('/').all(is_component) {
            return bad(
                "it must be docker://[HOST[:PORT]/]NAME[:TAG] or …@sha256:DIGEST, with a NAME in small letters",
            );
        }
        let path =
            if host == HUB && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        Ok(Self { host: host.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        if self.tag.is_none() && self.digest.is_none() { f.write_str(":latest") } else { Ok(()) }
    }
}

impl Reference {
    /// What an image from there is called here, as Docker calls it; none where it was asked for by its digest alone.
    pub fn name(&self) -> Option<String> {
        let tag = match (&self.tag, &self.digest) {
            (None, Some(_)) => return None,
            (tag, _) => tag.as_deref().unwrap_or("latest"),
        };
        let path = match self.path.strip_prefix("library/") {
            Some(path) if self.host == HUB => path.to_owned(),
            _ if self.host == HUB => self.path.clone(),
            _ => format!("{}/{}", self.host, self.path),
        };
        Some(format!("{path}:{tag}"))
    }

    /// Where the registry's API is.
    pub(super) fn api_host(&self) -> &str {
        if self.host == HUB { "registry-1.docker.io" } else { &self.host }
    }

    /// What the manifest is asked for by.
    pub(super) fn wanted(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Whether the registry is this host itself.
    pub(super) fn is_local(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name,
            _ => &self.host,
        };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Under what names its credentials may stand in a file of Docker's or of podman's, the best first.
    pub(super) fn login_keys(&self) -> Vec<String> {
        let whole = format!("{}/{}", self.host, self.path);
        let mut keys: Vec<String> = whole.rmatch_indices('/').map(|(at, _)| whole[..at].to_owned()).collect();
        keys.insert(0, whole.clone());
        for (before, after) in [("https://", ""), ("https://", "/v1/"), ("https://", "/v2/")] {
            keys.push(format!("{before}{}{after}", self.host));
        }
        if self.host == HUB {
            keys.extend(["https://index.docker.io/v1/", "index.docker.io"].map(str::to_owned));
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let pinned = format!("localhost:5000/a/b:v1@{digest}");
        for (text, host, path, wanted, shown) in [
            ("docker://debian:12", "docker.io", "library/debian", "12", "docker.io/library/debian:12"),
            ("docker://debian", "docker.io", "library/debian", "latest", "docker.io/library/debian:latest"),
            ("docker://a/b", "docker.io", "a/b", "latest", "docker.io/a/b:latest"),
            ("docker://index.docker.io/a/b", "docker.io", "a/b", "latest", "docker.io/a/b:latest"),
            ("ghcr.io/a/b:x", "ghcr.io", "a/b", "x", "ghcr.io/a/b:x"),
            ("[::1]:5000/x", "[::1]:5000", "x", "latest", "[::1]:5000/x:latest"),
            ("localhost/x", "localhost", "x", "latest", "localhost/x:latest"),
            (&pinned, "localhost:5000", "a/b", &digest, &pinned),
        ] {
            let read: Reference = text.parse().unwrap();
            assert_eq!(
                (&*read.host, &*read.path, read.wanted(), &*read.to_string()),
                (host, path, wanted, shown)
            );
        }
    }

    #[test]
    fn they_are_called_here_as_they_were_asked_for() {
        let name = |text: &str| text.parse::<Reference>().unwrap().name();
        for (text, want) in [
            ("docker://debian:12", "debian:12"),
            ("docker://docker.io/library/debian", "debian:latest"),
            ("docker://a/b:c", "a/b:c"),
            ("docker://localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ] {
            assert_eq!(name(text).as_deref(), Some(want));
        }
        let digest = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(name(&format!("debian@{digest}")), None);
        assert_eq!(name(&format!("debian:12@{digest}")).as_deref(), Some("debian:12"));
    }

    #[test]
    fn others_are_refused() {
        for text in [
            "",
            "docker://",
            "docker:///x",
            "a:",
            "x/",
            "a b",
            "A",
            "-a.b/x",
            "a.b:0/x",
            "a.b:99999/x",
            "a/../b",
            "a//b",
            "x@sha256:00",
            "x@md5:00",
            "a.b/x?y",
            "a.b/x#y",
            "u@a.b/x",
            "a.b\r\n/x",
            "ex_ample.com/x/",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn this_host_is_known() {
        let is_local = |text: &str| text.parse::<Reference>().unwrap().is_local();
        assert!(
            ["localhost/x", "localhost:5000/x", "127.0.0.1:5000/x", "127.9.9.9/x", "[::1]:5000/x"]
                .into_iter()
                .all(is_local)
        );
        assert!(
            !["debian", "localhost.example.org/x", "10.0.0.1:5000/x", "[fe80::1]/x"]
                .into_iter()
                .any(is_local)
        );
    }
}
