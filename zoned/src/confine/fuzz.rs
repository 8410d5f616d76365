//! What fuzz targets reach of this module.

use super::{cgroup, cpus, inodes, login, usage};

/// Reads texts of /proc and /sys.
pub fn texts(text: &str) {
    let hierarchies = cgroup::Hierarchies::from_mountinfo(text);
    hierarchies.controller("memory");
    cgroup::below(text, "/zones/a");
    inodes::is_narrow(text, 29);
    let set = cpus::parse(text);
    assert_eq!(cpus::parse(&cpus::show(&set)), set);
    usage::v1_limit(text);
    usage::field(text, "usage_usec");
    usage::keyed(text, "rbytes=");
    usage::cpu_max(text);
    usage::pressure(text);
    usage::started(text);
    usage::interfaces(text);
    usage::meminfo(text, "MemTotal:");
    usage::cpu_times(text);
}

/// Looks up a user in a guest's passwd and group.
pub fn users(passwd: &str, groups: &str, wanted: &str) {
    if let Ok(user) = login::user_of(passwd, groups, wanted) {
        assert!(user.uid < super::IDS && user.groups.iter().all(|gid| *gid < super::IDS));
    }
}
