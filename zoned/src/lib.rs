//! Keeps isolated, branded zones on a Linux host.

pub mod config;
pub mod lifecycle;
pub mod state;
