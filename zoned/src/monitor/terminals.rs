//! Which terminals a zone has, by what its guest's files say.

use std::fs::File;
use std::os::fd::AsFd;

use super::Monitor;
use crate::config::Init;
use crate::confine::devices::{Consoles, SCREENS, Wishes};
use crate::confine::login;
use crate::storage::backend;

impl Monitor {
    /// Those that its guest means to use.
    pub(super) fn consoles(&self) -> Consoles {
        if self.spec.run.is_some() {
            return Consoles::single();
        }
        let folders = [backend::upper(&self.spec.zone_dir), self.root_path()];
        let folders: Vec<File> = folders.iter().filter_map(|folder| File::open(folder).ok()).collect();
        let file = |path: &str| folders.iter().find_map(|folder| login::guest_file(folder.as_fd(), path));
        let init = match self.spec.boot.init.clone().map_or_else(|| self.spec.config.init.clone(), Init::from)
        {
            Init::Path(path) => path,
            Init::Auto => "/sbin/init".to_owned(),
            Init::None => String::new(),
        };
        // In an overlay's upper folder a link above it may be missing.
        let places = [init.trim_start_matches('/').to_owned(), format!("usr{init}")];
        let link = || {
            let mut all = folders.iter().flat_map(|folder| places.iter().map(move |place| (folder, place)));
            all.find_map(|(folder, place)| login::guest_link(folder.as_fd(), place))
        };
        let is_systemd = |path: &str| path.ends_with("/systemd");
        Consoles::of(&Wishes {
            systemd: is_systemd(&init) || link().is_some_and(|target| is_systemd(&target)),
            inittab: file("etc/inittab").unwrap_or_default(),
            upstart: SCREENS
                .iter()
                .filter(|name| file(&format!("etc/init/{name}.conf")).is_some())
                .map(|name| (*name).to_owned())
                .collect(),
        })
    }
}
