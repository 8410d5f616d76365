//! Keeps isolated, branded zones.
pub mod config;
pub mod sys;
