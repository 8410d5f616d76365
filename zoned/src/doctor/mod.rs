//! What this host offers zones.
