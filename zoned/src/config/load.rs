//! Text → [`Config`], with the place of the first thing that is wrong.

use std::ops::Range;
use std::path::Path;

use toml_edit::{Document, Item, TableLike, Value};

use super::facts::{check_host_kernel, check_kernel, check_rewriting};
use super::schema::{Key, Kind, ZONE, find, unknown};
use super::{Config, ConfigError, IpType, Vsyscall, resources, rules, shared};

impl Config {
    /// The configuration in `path`; its name must be the file's.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let origin = path.display().to_string();
        let config = Self::parse(&text, &origin)?;
        config.expect_name(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or(""), &text, &origin)?;
        Ok(config)
    }

    /// The configuration in `text`; `origin` is what messages call it.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let file = Source { text, origin };
        let document = file.document()?;
        file.table(document.as_table(), ZONE, "", None)?;
        let config: Self = toml::from_str(text)
            .map_err(|error| file.wrong(error.span(), None, error.message().to_owned()))?;
        file.agreement(&document, &config)?;
        Ok(config)
    }

    /// Fails when this is not the configuration of zone `name`.
    pub(crate) fn expect_name(&self, name: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
        if self.name == name {
            return Ok(());
        }
        let file = Source { text, origin };
        let span = file.document()?.get("name").and_then(Item::span);
        let why = format!("it says {:?} in the file of zone {name}", self.name);
        Err(file.wrong(span, Some("name"), why))
    }
}

/// A text with the name that messages give it.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) origin: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn document(&self) -> Result<Document<&'a str>, ConfigError> {
        Document::parse(self.text)
            .map_err(|error| self.wrong(error.span(), None, error.message().replace('\n', ", ")))
    }

    pub(crate) fn wrong(
        &self,
        span: Option<Range<usize>>,
        key: Option<&str>,
        why: impl Into<String>,
    ) -> ConfigError {
        let line = span.map(|span| {
            let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
            1 + before.iter().filter(|byte| **byte == b'\n').count()
        });
        ConfigError::Invalid {
            origin: self.origin.to_owned(),
            line,
            key: key.map(str::to_owned),
            why: why.into(),
        }
    }

    /// Every key is known and holds what it may; every needed key is there.
    pub(crate) fn table(
        &self,
        table: &dyn TableLike,
        keys: &'static [Key],
        prefix: &str,
        place: Option<Range<usize>>,
    ) -> Result<(), ConfigError> {
        for (name, item) in table.iter() {
            let path = format!("{prefix}{name}");
            let at = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
            match find(keys, name) {
                Some(key) => self.item(item, key, &path, at)?,
                None => return Err(self.wrong(at, Some(&path), unknown(keys, name))),
            }
        }
        match keys.iter().find(|key| key.required && !table.contains_key(key.name)) {
            Some(key) => Err(self.wrong(place, Some(&format!("{prefix}{}", key.name)), "it is missing")),
            None => Ok(()),
        }
    }

    fn item(&self, item: &Item, key: &Key, path: &str, at: Option<Range<usize>>) -> Result<(), ConfigError> {
        let kind = key.kind;
        let other = || self.wrong(at.clone(), Some(path), format!("it must be {}", kind.word()));
        let spot = |item: Option<Range<usize>>| item.or_else(|| at.clone());
        match kind {
            Kind::Text(rule) => {
                let text = item.as_str().ok_or_else(other)?;
                rule(text).map_err(|why| self.wrong(spot(item.span()), Some(path), why))
            }
            Kind::Count(rule) => {
                let text = item.as_integer().map(|n| n.to_string());
                let text = text.as_deref().or_else(|| item.as_str()).ok_or_else(other)?;
                rule(text).map_err(|why| self.wrong(spot(item.span()), Some(path), why))
            }
            Kind::List(rule) => item.as_array().ok_or_else(other)?.iter().try_for_each(|value| {
                let text = value.as_str().ok_or_else(other)?;
                rule(text).map_err(|why| self.wrong(spot(value.span()), Some(path), why))
            }),
            Kind::Flag => item.as_bool().map(drop).ok_or_else(other),
            Kind::Whole => item.as_integer().filter(|n| *n >= 1).map(drop).ok_or_else(other),
            Kind::Real => {
                let number = item.as_float().or_else(|| item.as_integer().map(|n| n as f64));
                number.filter(|n| *n > 0.0 && n.is_finite()).map(drop).ok_or_else(other)
            }
            Kind::Table(keys) => {
                let table = item.as_table_like().ok_or_else(other)?;
                self.table(table, keys, &format!("{path}."), at.clone())
            }
            Kind::Tables(keys) => {
                let prefix = format!("{path}.");
                match item {
                    Item::ArrayOfTables(tables) => tables
                        .iter()
                        .try_for_each(|table| self.table(table, keys, &prefix, spot(table.span()))),
                    Item::Value(Value::Array(array)) => array.iter().try_for_each(|value| {
                        let table = value.as_inline_table().ok_or_else(other)?;
                        self.table(table, keys, &prefix, spot(value.span()))
                    }),
                    _ => Err(other()),
                }
            }
        }
    }

    /// The keys agree with each other.
    fn agreement(&self, document: &Document<&str>, config: &Config) -> Result<(), ConfigError> {
        let at = |key: &str| document.get(key).and_then(|item| entry_span(item, 0));
        if let Some(kernel) = &config.kernel {
            check_kernel(&config.brand, kernel)
                .map_err(|why| self.wrong(at("kernel"), Some("kernel"), why))?;
        }
        if let Some(host) = &config.host_kernel {
            check_host_kernel(&config.brand, host)
                .map_err(|why| self.wrong(at("host-kernel"), Some("host-kernel"), why))?;
        }
        if config.vsyscall == Vsyscall::Rewrite {
            check_rewriting(&config.brand)
                .map_err(|why| self.wrong(at("vsyscall"), Some("vsyscall"), why))?;
        }
        if config.strict && config.kernel.is_none() {
            let why = "it needs a level to be strict about; set kernel";
            return Err(self.wrong(at("strict"), Some("strict"), why));
        }
        if !config.net.is_empty() && matches!(config.ip_type, IpType::None | IpType::Host) {
            let why = "interfaces need ip-type = \"exclusive\", and addresses of the host's \"shared\"; a zone with \
                       \"host\" has all of them";
            return Err(self.wrong(at("net"), Some("net"), why));
        }
        let span = |index| document.get("net").and_then(|item| entry_span(item, index));
        if config.ip_type == IpType::Shared {
            shared::agree(&config.net)
                .map_err(|(index, (key, why))| self.wrong(span(index), Some(key), why))?;
        }
        for (index, net) in config.net.iter().enumerate() {
            net.agrees().map_err(|(key, why)| self.wrong(span(index), Some(key), why))?;
        }
        self.unique(document, "net", config.net.iter().filter_map(|net| net.name.as_deref()))?;
        resources::agree(config).map_err(|(key, why)| self.wrong(at(key), Some(key), why))?;
        let device = |io: &resources::CappedIo| io.device.clone().unwrap_or_else(|| "the zone's".to_owned());
        let devices: Vec<String> = config.capped_io.iter().map(device).collect();
        self.unique(document, "capped-io", devices.iter().map(String::as_str))?;
        self.unique(document, "fs", config.fs.iter().map(|fs| fs.dir.trim_end_matches('/')))?;
        self.unique(document, "device", config.device.iter().map(|device| device.path.as_str()))?;
        self.unique(document, "rctl", config.rctl.iter().map(|rctl| rctl.name.as_str()))?;
        self.unique(document, "attr", config.attr.iter().map(|attr| attr.name.as_str()))?;
        self.unique(document, "admin", config.admin.iter().map(|admin| admin.user.as_str()))?;
        for (index, attr) in config.attr.iter().enumerate() {
            rules::attr_value(&attr.kind, &attr.value).map_err(|why| {
                let span = document.get("attr").and_then(|item| entry_span(item, index));
                self.wrong(span, Some("attr.value"), why)
            })?;
        }
        Ok(())
    }

    fn unique<'b>(
        &self,
        document: &Document<&str>,
        key: &str,
        names: impl Iterator<Item = &'b str>,
    ) -> Result<(), ConfigError> {
        let mut seen = std::collections::HashSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let span = document.get(key).and_then(|item| entry_span(item, index));
                return Err(self.wrong(span, Some(key), format!("{name} is there twice")));
            }
        }
        Ok(())
    }
}

/// Where the entry of that number stands in a list of tables; of anything else, the thing itself.
fn entry_span(item: &Item, index: usize) -> Option<Range<usize>> {
    match item {
        Item::ArrayOfTables(tables) => tables.get(index)?.span(),
        Item::Value(Value::Array(array)) => array.get(index)?.span(),
        _ => item.span(),
    }
}
