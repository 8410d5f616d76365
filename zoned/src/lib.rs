//! Keeps isolated, branded zones.
pub mod config;
pub mod confine;
pub mod doctor;
pub mod image;
pub mod sys;
