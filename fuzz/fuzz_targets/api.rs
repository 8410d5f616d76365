//! Requests to the API, one after the other, at a zoned whose host is made up. Each is a line `METHOD PATH`, and a body; one
//! that begins with a `-` is of a user who manages nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;
use zone_api::ApiError;
use zoned::server::fuzz::Api;

fuzz_target!(|text: &str| {
    zones_fuzz::caged();
    let runtime = Builder::new_current_thread().enable_all().build().expect("make a runtime");
    runtime.block_on(async {
        let api = Api::new();
        api.install("a");
        for request in text.split(zones_fuzz::BETWEEN).take(8) {
            let (head, body) = request.split_once('\n').unwrap_or((request, ""));
            let (head, trusted) = head.strip_prefix('-').map_or((head, true), |head| (head, false));
            let Some((method, path)) = head.split_once(' ') else { continue };
            let Some((status, said)) = api.ask(method, path, body.as_bytes().to_vec(), trusted).await else {
                continue;
            };
            if status >= 400 {
                let error: ApiError = serde_json::from_slice(&said)
                    .unwrap_or_else(|error| panic!("{status}: {error}: {}", String::from_utf8_lossy(&said)));
                assert!(!error.why.is_empty());
            }
        }
    });
    runtime.shutdown_background();
});
