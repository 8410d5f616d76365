//! Keeps isolated, branded zones.
pub mod config;
pub mod confine;
pub mod monitor;
pub mod sys;
