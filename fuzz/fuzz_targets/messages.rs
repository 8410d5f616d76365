//! What zoned, its monitors and clients say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zone_api::{ApiError, Progress, SessionEvent, SessionInput};
use zoned::monitor::wire::{Asked, Said};

/// What is read is said again in the same way.
fn round<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec(&message).expect("it can be said");
        assert_eq!(serde_json::from_slice::<T>(&text).expect("it can be read"), message);
    }
}

fuzz_target!(|bytes: &[u8]| {
    round::<Asked>(bytes);
    round::<Said>(bytes);
    round::<SessionEvent>(bytes);
    round::<SessionInput>(bytes);
    round::<Progress>(bytes);
    round::<ApiError>(bytes);
});
