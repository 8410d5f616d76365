#![forbid(unsafe_code)]
//! Brands: what kernel a guest believes it runs on. Tables, handlers and the filter compiler;
//! no I/O and no `unsafe`.

pub mod abi;
pub mod call;
pub mod level;
pub mod task;
