//! What zoned must have to be of any use, looked at before anything is done.

use std::fs;

use crate::confine::privileges::lacking;
use crate::sys::process::status_set;

/// Says in a sentence what is missing.
pub(super) fn check() -> Result<(), String> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("/proc is not mounted or cannot be read: {error}"))?;
    let lacking = lacking(status_set(&status, "CapEff:").ok_or("/proc/self/status tells no capabilities")?);
    if !lacking.is_empty() {
        return Err(format!("it lacks the capabilities {}; run it as root", lacking.join(", ")));
    }
    // A kernel without CONFIG_USER_NS has no such file.
    if fs::symlink_metadata("/proc/self/ns/user").is_err() {
        return Err("this kernel has no user namespaces".into());
    }
    let most = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if most.trim() == "0" {
        return Err("user namespaces are off: set the sysctl user.max_user_namespaces above 0".into());
    }
    Ok(())
}
