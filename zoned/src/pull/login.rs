//! Passwords for registries, out of the file that docker login and podman login write.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use serde::Deserialize;

use super::reference::Reference;
use super::wire::Login;
use crate::causes::chain;

#[derive(Deserialize)]
struct Logins {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
struct Entry {
    /// `USER:PASSWORD` in base64.
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// What there is for the registry of `reference`; a file that is not there has nothing.
pub(super) fn find(path: &Path, reference: &Reference) -> Result<Option<Login>, String> {
    let failed = |why: String| format!("{}: {why}", path.display());
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(chain(&error))),
    };
    let logins: Logins = serde_json::from_slice(&text)
        .map_err(|error| failed(format!("line {}: it is not as docker login writes it", error.line())))?;
    let Some(entry) = reference.login_keys().iter().find_map(|key| logins.auths.get(key)) else {
        return Ok(None);
    };
    if !entry.identity_token.is_empty() {
        return Ok(Some(Login::Identity(entry.identity_token.clone())));
    }
    // With a program that keeps passwords the file has an empty entry.
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(entry.auth.trim()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_ref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => {
            Ok(Some(Login::Password(user.to_owned(), password.trim_end_matches('\0').to_owned())))
        }
        None => Err(failed(format!("the entry for {} is no user and password", reference.host))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_that_fits_best_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let find = |text: &str| match find(&path, &text.parse().unwrap()).unwrap() {
            Some(Login::Password(user, password)) => format!("{user} {password}"),
            Some(Login::Identity(token)) => token,
            None => "none".to_owned(),
        };
        assert_eq!(find("docker://debian"), "none");
        // a:b:c, user:pass, own:x
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpiOmM="}, "r.example.org": {"auth": "dXNlcjpwYXNz"},
            "r.example.org/team": {"auth": "b3duOng="}, "id.example.org": {"identitytoken": "t"}, "helper.example.org": {},
            "bad.example.org": {"auth": "?"}}, "credsStore": "x"}"#;
        std::fs::write(&path, text).unwrap();
        for (reference, want) in [
            ("docker://debian", "a b:c"),
            ("docker://r.example.org/other/x", "user pass"),
            ("docker://r.example.org/team/x", "own x"),
            ("docker://r.example.org/teams/x", "user pass"),
            ("docker://id.example.org/x", "t"),
            ("docker://helper.example.org/x", "none"),
            ("docker://r.example.org:5000/x", "none"),
        ] {
            assert_eq!(find(reference), want, "{reference}");
        }
        let bad = super::find(&path, &"docker://bad.example.org/x".parse().unwrap()).err().unwrap();
        assert!(bad.contains("no user and password") && !bad.contains('?'), "{bad}");
    }
}
