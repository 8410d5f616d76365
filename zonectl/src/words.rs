//! Words of the command line that are more than strings.

use std::collections::BTreeMap;
use std::path::Path;

use zone_api::Edit;

use crate::failure::Failure;

/// Sources whose path zoned opens: a relative one is the caller's, not zoned's.
const PATH_SOURCES: [&str; 5] = ["dir", "tar", "oci", "oci-archive", "docker-archive"];
/// Sources without a path.
const OTHER_SOURCES: [&str; 3] = ["debootstrap", "image", "docker"];

/// `KEY=VALUE`; the value may hold more of `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl std::str::FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("not KEY=VALUE".to_owned()),
        }
    }
}

impl KeyValue {
    /// The change that it asks for.
    pub(crate) fn into_edit(self) -> Edit {
        Edit::Set { key: self.key, value: self.value }
    }
}

/// `NAME@SNAP`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snap {
    pub(crate) zone: String,
    pub(crate) name: String,
}

impl std::str::FromStr for Snap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            Some((zone, name)) if !zone.is_empty() && !name.is_empty() => {
                Ok(Self { zone: zone.to_owned(), name: name.to_owned() })
            }
            _ => Err("not NAME@SNAP".to_owned()),
        }
    }
}

/// `NAME[@SNAP]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) zone: String,
    pub(crate) snapshot: Option<String>,
}

impl std::str::FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            let Snap { zone, name } = text.parse()?;
            return Ok(Self { zone, snapshot: Some(name) });
        }
        Ok(Self { zone: text.to_owned(), snapshot: None })
    }
}

/// Properties of a resource, each once.
pub(crate) fn properties(pairs: Vec<KeyValue>, what: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = BTreeMap::new();
    for KeyValue { key, value } in pairs {
        if properties.contains_key(&key) {
            return Err(Failure::usage(what, format!("{key} is given twice")));
        }
        properties.insert(key, value);
    }
    Ok(properties)
}

/// A path as seen from here.
pub(crate) fn absolute(path: &str) -> Result<String, Failure> {
    let made =
        std::path::absolute(Path::new(path)).map_err(|e| Failure::local(format!("find {path}"), &e))?;
    made.into_os_string()
        .into_string()
        .map_err(|_| Failure::usage(format!("find {path}"), "the current folder's name is not UTF-8"))
}

/// A source as zoned is to see it. What is no source is left for zoned to refuse.
pub(crate) fn source(text: &str) -> Result<String, Failure> {
    match text.split_once(':') {
        Some((scheme, path)) if PATH_SOURCES.contains(&scheme) && !path.is_empty() && !is_stream(text) => {
            Ok(format!("{scheme}:{}", absolute(path)?))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Whether the source's archive is stdin: `tar:-`, `oci:-:TAG`.
pub(crate) fn is_stream(source: &str) -> bool {
    let kinds = PATH_SOURCES.iter().filter(|kind| **kind != "dir");
    let rest = kinds.filter_map(|kind| source.strip_prefix(kind)?.strip_prefix(':')).next();
    rest.is_some_and(|rest| rest == "-" || rest.starts_with("-:"))
}

/// What `run --root` takes: a source, or a folder.
pub(crate) fn source_or_folder(text: &str) -> Result<String, Failure> {
    match text.split_once(':') {
        Some((scheme, _)) if PATH_SOURCES.contains(&scheme) || OTHER_SOURCES.contains(&scheme) => {
            source(text)
        }
        _ if text.is_empty() => Err(Failure::usage("read --root", "it is empty")),
        _ => absolute(text),
    }
}

/// What `run --bind` takes: `SRC[:DST]`, where SRC is on the host.
pub(crate) fn bind(text: &str) -> Result<String, Failure> {
    let (from, to) = text.split_once(':').map_or((text, None), |(from, to)| (from, Some(to)));
    if from.is_empty() {
        return Err(Failure::usage(format!("read --bind {text}"), "the path on the host is missing"));
    }
    let from = absolute(from)?;
    Ok(to.map_or_else(|| from.clone(), |to| format!("{from}:{to}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_equals_signs() {
        let parse = |text: &str| text.parse::<KeyValue>().map(|p| (p.key, p.value));
        let pair = |k: &str, v: &str| Ok((k.to_owned(), v.to_owned()));
        assert_eq!(parse("a=b=c"), pair("a", "b=c"));
        assert_eq!(parse("a="), pair("a", ""));
        assert!(parse("=b").is_err());
        assert!(parse("uname").is_err());
    }

    #[test]
    fn a_property_counts_once() {
        let pairs = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<KeyValue>>();
        assert_eq!(properties(pairs(&["a=1", "b=2"]), "add").unwrap().len(), 2);
        assert_eq!(properties(pairs(&["a=1", "a=2"]), "add").unwrap_err().status(), 2);
    }

    #[test]
    fn relative_paths_are_the_callers() {
        let here = std::env::current_dir().unwrap();
        let here = here.to_str().unwrap();
        assert_eq!(source("tar:a.tar").unwrap(), format!("tar:{here}/a.tar"));
        assert_eq!(source("dir:/a").unwrap(), "dir:/a");
        assert_eq!(source("oci:a:latest").unwrap(), format!("oci:{here}/a:latest"));
        for same in
            ["tar:-", "oci:-:12", "debootstrap:bullseye,arch=i386", "image:x", "nonsense:x", "nonsense"]
        {
            assert_eq!(source(same).unwrap(), same);
        }
        assert_eq!(source_or_folder("a").unwrap(), format!("{here}/a"));
        assert_eq!(source_or_folder("image:x").unwrap(), "image:x");
        assert!(source_or_folder("").is_err());
        assert_eq!(bind("a:/b").unwrap(), format!("{here}/a:/b"));
        assert_eq!(bind("/a").unwrap(), "/a");
        assert!(bind(":/b").is_err());
    }
}
