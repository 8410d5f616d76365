//! zoned.toml: the daemon's own settings.

use std::path::Path;

use serde::Deserialize;

use super::ConfigError;
use super::load::Source;
use super::network::{self, NetworkSettings};
use super::rules;
use super::schema::{Key, Kind, key};
use crate::pull::is_host;

/// Ids that a zone has to itself: 0 to 65535 inside.
pub const IDS_PER_ZONE: u32 = 65_536;

/// What zoned.toml says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Settings {
    /// First host id of the first zone.
    pub id_base: u32,
    /// Ranges of [`IDS_PER_ZONE`] host ids; as many zones can there be.
    pub id_slots: u32,
    /// Members of this group may manage zones.
    pub group: String,
    /// The bridge of zoned's own.
    pub network: NetworkSettings,
    /// Where images come from.
    pub images: ImageSettings,
}

/// `[images]` of zoned.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ImageSettings {
    /// Registries that may be spoken to without TLS, with their ports: `registry.lan:5000`.
    pub insecure_registries: Vec<String>,
    /// Passwords for registries, as docker login and podman login write them.
    pub auth_file: Option<String>,
}

/// Keys of `[images]`.
const IMAGES: &[Key] =
    &[key("insecure-registries", Kind::List(registry)), key("auth-file", Kind::Text(rules::absolute))];

fn registry(text: &str) -> rules::Verdict {
    if is_host(text) {
        Ok(())
    } else {
        Err("it must be a host, with its port where it has one: registry.lan:5000".into())
    }
}

impl Default for Settings {
    /// 2^30 up to 2^31: above what adduser(8) and systemd give out, and positive where ids are signed.
    fn default() -> Self {
        Self {
            id_base: 1 << 30,
            id_slots: 16_384,
            group: "zones".into(),
            network: NetworkSettings::default(),
            images: ImageSettings::default(),
        }
    }
}

const KEYS: &[Key] = &[
    Key { name: "id-base", kind: Kind::Whole, required: false, live: false },
    Key { name: "id-slots", kind: Kind::Whole, required: false, live: false },
    Key { name: "group", kind: Kind::Text(rules::user), required: false, live: false },
    Key { name: "network", kind: Kind::Table(network::SETTINGS), required: false, live: false },
    Key { name: "images", kind: Kind::Table(IMAGES), required: false, live: false },
];

impl Settings {
    /// The settings in `path`; without the file, the defaults.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// The settings in `text`.
    ///
    /// # Errors
    /// When they are not valid.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let file = Source { text, origin };
        let document = file.document()?;
        file.table(document.as_table(), KEYS, "", None)?;
        let settings: Self = toml::from_str(text)
            .map_err(|error| file.wrong(error.span(), None, error.message().to_owned()))?;
        let wrong = |key: &str, why: &str| {
            Err(file.wrong(document.get(key).and_then(toml_edit::Item::span), Some(key), why))
        };
        if !settings.id_base.is_multiple_of(IDS_PER_ZONE) {
            return wrong("id-base", "it must be a multiple of 65536");
        }
        // (uid_t)-1 means "leave as it is" to chown(2) and cannot be mapped.
        let end = u64::from(settings.id_base) + u64::from(settings.id_slots) * u64::from(IDS_PER_ZONE);
        if end > u64::from(u32::MAX) {
            return wrong("id-slots", "the last range ends above 4294967295");
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_errors() {
        assert_eq!(Settings::parse("", "z").unwrap(), Settings::default());
        let text = "group = \"ops\"\nid-base = 2147483648\nid-slots = 10\n";
        assert_eq!(Settings::parse(text, "z").unwrap().id_slots, 10);
        for (bad, says) in [
            ("\nid-bse = 1", "z:2: id-bse: unknown key; did you mean id-base?"),
            ("id-base = 5", "z:1: id-base: it must be a multiple of 65536"),
            ("id-slots = 65536", "z:1: id-slots: the last range ends above 4294967295"),
            ("id-slots = 0", "z:1: id-slots: it must be a whole number, 1 or more"),
            ("id-slots = 99999999999", "z:1: invalid value"),
            ("[images]\ninsecure-registries = [\"http://a\"]", "z:2: images.insecure-registries"),
            ("[images]\nauth-file = \"config.json\"", "z:2: images.auth-file"),
        ] {
            let error = Settings::parse(bad, "z").unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        assert!(Settings::load(Path::new("/nonexistent/zoned.toml")).is_ok());
    }
}
