#![forbid(unsafe_code)]
//! Whole-system tests: a private zoned, its command line, a terminal, guests, and a census of the host.

mod caller;
mod census;
mod client;
mod fixtures;
mod guests;
mod host;
mod http;
mod injector;
mod lab;
mod large;
mod machine;
mod mounted;
pub mod peers;
mod power;
mod proxy;
mod terminal;
mod zoned;

pub use caller::{Caller, Reply, ask, read_reply};
pub use census::Census;
pub use client::{Client, Outcome};
pub use fixtures::{busybox_root, compile, elf_for_another_machine, pack, program};
pub use guests::{GUESTS, Guest, debian, debian_with};
pub use host::{
    Dice, binary, eventually, figure, is_machine, is_missing, is_too_old, run, shares_layers, target, text,
};
pub use http::{Asked, Server};
pub use injector::{Act, Fault, Steps, Who};
pub use lab::Lab;
pub use large::Large;
pub use machine::{Machine, Said};
pub use mounted::Mounted;
pub use power::{Cut, Disk};
pub use proxy::Proxy;
pub use terminal::Terminal;
pub use zoned::{How, Zoned};
