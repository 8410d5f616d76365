//! Keeps isolated, branded zones on a Linux host.

// With the rest of what is unsafe, and apart from it: it is about starting, not about zones.
#[path = "sys/activation.rs"]
pub mod activation;
pub mod config;
pub mod lifecycle;
pub mod server;
pub mod state;
