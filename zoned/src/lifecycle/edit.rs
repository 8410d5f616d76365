//! edit, and reading what can be edited.

use std::sync::Arc;

use zone_api::{ApiError, Edit, Edited, ErrorKind};

use super::{Zones, because};
use crate::config::{self, Config, edit};
use crate::state::Verb;

impl Zones {
    /// A zone's configuration as it stands in its file.
    ///
    /// # Errors
    /// When there is no such zone or no such file.
    pub fn config_text(&self, name: &str) -> Result<String, ApiError> {
        self.known(name, "export")?;
        let path = self.config_path(name);
        std::fs::read_to_string(&path).map_err(|error| because(format!("read {}", path.display()), &error))
    }

    /// One key of it, defaults included.
    ///
    /// # Errors
    /// When there is no such zone or key, or the file is not valid.
    pub fn config_key(&self, name: &str, key: &str) -> Result<Option<String>, ApiError> {
        self.known(name, "get")?;
        let config = Config::load(&self.config_path(name)).map_err(|error| error.to_api())?;
        config::get(&config, key).map_err(|error| error.to_api())
    }

    /// All of it as TOML, defaults included.
    ///
    /// # Errors
    /// When there is no such zone, or the file is not valid.
    pub fn config_whole(&self, name: &str) -> Result<String, ApiError> {
        self.known(name, "get")?;
        let config = Config::load(&self.config_path(name)).map_err(|error| error.to_api())?;
        toml::to_string(&config).map_err(|error| because(format!("get {name}"), &error))
    }

    /// Who has which rights on a zone; nobody where its configuration is not valid.
    pub fn admins(&self, name: &str) -> Vec<config::Admin> {
        if config::check_name(name).is_err() {
            return Vec::new();
        }
        Config::load(&self.config_path(name)).map(|config| config.admin).unwrap_or_default()
    }

    /// Changes single keys.
    ///
    /// # Errors
    /// Nothing was changed then, unless the error says that live keys are not in effect.
    pub fn edit(self: &Arc<Self>, name: &str, edits: &[Edit]) -> Result<Edited, ApiError> {
        let _claim = self.claim(name, Verb::Edit)?;
        self.set_unclaimed(name, edits)
    }

    /// The same for one who has the zone already.
    pub(super) fn set_unclaimed(&self, name: &str, edits: &[Edit]) -> Result<Edited, ApiError> {
        let before = self.config_text(name)?;
        let origin = self.config_path(name).display().to_string();
        let (after, config) = edit::apply(&before, edits, &origin).map_err(|error| error.to_api())?;
        self.check_order(name, &config)?;
        self.replace(name, &before, &after, config)
    }

    /// Puts another configuration in its place.
    ///
    /// # Errors
    /// As for [`Zones::edit`].
    pub fn put(self: &Arc<Self>, name: &str, text: &str) -> Result<Edited, ApiError> {
        let _claim = self.claim(name, Verb::Edit)?;
        let config = Config::parse(text, name).map_err(|error| error.to_api())?;
        config.expect_name(name, text, name).map_err(|error| error.to_api())?;
        self.check_order(name, &config)?;
        // It may take the place of a file that was removed by hand.
        let before = self.config_text(name).unwrap_or_default();
        self.replace(name, &before, text, config)
    }

    fn replace(&self, name: &str, before: &str, after: &str, config: Config) -> Result<Edited, ApiError> {
        if before == after {
            return Ok(Edited::default());
        }
        edit::write(&self.config_path(name), after).map_err(|error| error.to_api())?;
        self.bus.tell(name, "config", "its configuration was changed");
        let Some(live) = self.live(name) else { return Ok(Edited::default()) };
        let Ok(before) = Config::parse(before, name) else { return Ok(Edited::default()) };
        let edited = config::changes(&before, &config);
        let config = self.config(name).unwrap_or(config);
        let limited = if edited.live.iter().any(|key| key == "capped-disk") {
            self.limit_disk(name, &config)
        } else {
            Ok(())
        };
        live.control.update(&config, &edited.live).map_err(|error| {
            let why = format!("it is written, and the running zone did not take it: {error}");
            ApiError::new(ErrorKind::Failed, format!("edit {name}"), why)
        })?;
        limited.map_err(|error| ApiError { why: format!("it is written; {}", error.why), ..error })?;
        Ok(edited)
    }
}
