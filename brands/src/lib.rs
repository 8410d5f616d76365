#![forbid(unsafe_code)]
//! Brands: what kernel a guest believes it runs on. Tables, handlers and the filter compiler;
//! no I/O and no `unsafe`.

pub mod abi;
pub mod call;
pub mod cond;
pub mod distro;
pub mod engine;
pub mod fake;
pub mod file;
pub mod filter;
pub mod history;
pub mod interp;
pub mod level;
mod linux;
mod native;
pub mod platform;
pub mod profile;
pub mod reference;
pub mod table;
pub mod task;
pub mod vsyscall;

pub use linux::proc;
