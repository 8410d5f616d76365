//! The API over a unix socket: HTTP/1.1 with JSON, rights by peer credentials.

mod answer;
mod body;
mod connections;
pub mod daemon;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod metrics;
mod peer;
mod places;
mod preflight;
mod routes;
mod session;
mod socket;
mod watchdog;

#[cfg(test)]
mod tests;

pub use connections::serve;
pub use routes::openapi;
