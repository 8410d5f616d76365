//! Which terminals a zone has, by what its guest's files say.

use std::fs::File;
use std::os::fd::AsFd;

use super::Monitor;
use crate::config::Init;
use crate::confine::devices::{Consoles, SCREENS, Wishes};
use crate::confine::login;
use crate::storage::backend;

impl Monitor {
    /// What init is told that it is in. Of all words Ubuntu's upstart (12.04 to 14.04) begins logins on screens for this one of
    /// libvirt's alone; others go by whether there is any.
    pub(super) fn container(&self) -> &'static str {
        let job = "etc/init/container-detect.conf";
        let has_job = |folder: &File| login::guest_file(folder.as_fd(), job).is_some();
        if self.spec.run.is_none() && self.folders().iter().any(has_job) { "lxc-libvirt" } else { "zone" }
    }

    /// Where files of its guest are, as it wrote them and as they were installed.
    pub(super) fn folders(&self) -> Vec<File> {
        let folders = [backend::upper(&self.spec.zone_dir), self.root_path()];
        folders.iter().filter_map(|folder| File::open(folder).ok()).collect()
    }

    /// Those that its guest means to use.
    pub(super) fn consoles(&self) -> Consoles {
        if self.spec.run.is_some() {
            return Consoles::single();
        }
        let folders = self.folders();
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
                .filter(|name| {
                    // From upstart 0.6 on, and before.
                    let jobs = [format!("etc/init/{name}.conf"), format!("etc/event.d/{name}")];
                    jobs.iter().any(|job| file(job).is_some())
                })
                .map(|name| (*name).to_owned())
                .collect(),
        })
    }
}
