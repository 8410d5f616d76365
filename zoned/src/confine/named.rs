//! Hierarchies that hosts have not mounted: the v1 one by the name of systemd, in which systemd before 230 keeps its
//! processes, and v2 for zones that are held to their addresses by it.
//!
//! A zone may mount a hierarchy that exists, and make none (Linux 4.6, cgroup namespaces). Here it is made by a mount that
//! is nowhere in the tree of files: it goes with its last group and the last that holds it.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use super::cgroup::Hierarchies;
use crate::sys::mount;

/// Its name.
const SYSTEMD: &str = "systemd";

impl Hierarchies {
    /// Adds systemd's hierarchy where it is not mounted: where it exists all the same, and with `make` where it does not.
    /// What is given must be kept for as long as its groups are used. Nothing where there is no need, and where the
    /// kernel has no v1 hierarchies: then an old systemd does without groups, or says what it thinks of that.
    pub fn add_named(&mut self, make: bool) -> Option<OwnedFd> {
        self.add_named_as(SYSTEMD, make)
    }

    fn add_named_as(&mut self, name: &str, make: bool) -> Option<OwnedFd> {
        let controller = format!("name={name}");
        let has_it = self.v1.iter().any(|(_, controllers)| controllers.contains(&controller));
        if has_it || !(make || exists(&controller)) {
            return None;
        }
        let value = CString::new(name).ok()?;
        let tree = mount::make(c"cgroup", &[(c"name", &value)], 0).ok()?;
        self.v1.push((PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd())), vec![controller]));
        Some(tree)
    }
}

impl Hierarchies {
    /// Adds the v2 hierarchy, which every kernel has, where it is not mounted. What is given must be kept as above.
    pub fn add_v2(&mut self) -> Option<OwnedFd> {
        if self.v2.is_some() {
            return None;
        }
        let tree = mount::make(c"cgroup2", &[], 0).ok()?;
        self.v2 = Some(PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd())));
        Some(tree)
    }
}

/// Whether the kernel has a hierarchy, mounted or not (cgroups(7), /proc/PID/cgroup).
fn exists(controller: &str) -> bool {
    let all = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    all.lines().any(|line| line.split(':').nth(1) == Some(controller))
}

#[cfg(test)]
mod tests {
    use super::super::cgroup::Cgroup;
    use super::super::limits::Limits;
    use super::*;

    #[test]
    fn a_hierarchy_is_there_for_as_long_as_it_is_held() {
        let name = format!("zones-unit-{}", std::process::id());
        let controller = format!("name={name}");
        let mut found = Hierarchies::default();
        assert!(found.add_named_as(&name, false).is_none(), "none is made unless asked for");
        let Some(tree) = found.add_named_as(&name, true) else {
            eprintln!("SKIPPED: no rights to make a v1 hierarchy, or a kernel without");
            return;
        };
        assert!(exists(&controller));
        let (point, controllers) = found.v1[0].clone();
        assert_eq!(controllers, std::slice::from_ref(&controller));
        fs::create_dir(point.join("a")).unwrap();
        assert!(point.join("a/tasks").exists());
        // Another finds it without making it.
        let other = Hierarchies::default().add_named_as(&name, false);
        assert!(other.is_some());
        fs::remove_dir(point.join("a")).unwrap();
        drop((tree, other));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while exists(&controller) {
            assert!(std::time::Instant::now() < end, "the hierarchy stays");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    #[test]
    fn what_is_mounted_is_not_mounted_again() {
        let mut found =
            Hierarchies { v2: None, v1: vec![("/somewhere".into(), vec!["name=systemd".to_owned()])] };
        assert!(found.add_named(true).is_none());
        assert_eq!(found.v1.len(), 1);
    }

    #[test]
    fn a_zones_group_in_it_leaves_nothing() {
        let mut hierarchies = Hierarchies::default();
        let Some(tree) = hierarchies.add_named(true) else {
            eprintln!("SKIPPED: no rights to make a v1 hierarchy, or a kernel without");
            return;
        };
        let key = format!("unit-named-{}", std::process::id());
        let mut cgroup = Cgroup::at(&hierarchies, &key);
        cgroup.make(1 << 30, true, &Limits::default()).unwrap();
        cgroup.keep(Some(tree));
        let group = hierarchies.v1[0].0.join("zoned").join(&key);
        assert!(group.join("tasks").exists());
        assert_eq!(cgroup.v1_tasks().unwrap().len(), 1);
        cgroup.remove().unwrap();
        assert!(!group.exists());
    }
}
