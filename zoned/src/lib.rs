//! Keeps isolated, branded zones on a Linux host.

mod causes;
pub mod config;
pub mod confine;
pub mod doctor;
pub mod host;
pub mod image;
pub mod lifecycle;
pub mod marks;
pub mod monitor;
pub mod network;
pub mod pull;
pub mod server;
pub mod state;
pub mod storage;
pub mod sys;
