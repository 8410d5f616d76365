//! What zones find on zoned's bridge: DHCP, router advertisements, DNS.
//!
//! zoned serves as long as the bridge is there, and follows its coming and going by the kernel's messages: monitors
//! make it and take it down, at times without a zoned. While there is none, zones keep what they have.

mod advertise;
mod dhcp;
mod dns;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod socket;
mod turns;
mod upstream;

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::link::Net;
use super::names::Names;
use super::netlink::changes_of_links;
use super::{Place, bridge};
use dns::Resolver;

/// How long after a failure a service is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// Serves for as long as zoned runs.
///
/// # Errors
/// When interfaces cannot be followed.
pub async fn run(place: Place) -> io::Result<()> {
    // For tokio any socket of datagrams is one of UDP.
    let changes = UdpSocket::from_std(changes_of_links()?.into())?;
    let mut services = JoinSet::new();
    let mut served = None;
    loop {
        // Not one of that name that somebody else made.
        let link = Net::here()?.find(&place.bridge)?.filter(|link| bridge::ours(&place, link).is_ok());
        let there = link.map(|link| link.index);
        if there != served {
            // Those of a bridge that is no more.
            services.shutdown().await;
            if there.is_some() {
                begin(&place, &mut services);
            }
            served = there;
        }
        match changes.recv(&mut [0; 4096]).await {
            // More was told than there was room for: whoever looks now sees it all.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            other => drop(other?),
        }
    }
}

fn begin(place: &Place, services: &mut JoinSet<()>) {
    let resolver = Resolver::new(place);
    if place.dhcp {
        let own = place.clone();
        services.spawn(again("DHCP", move || dhcp::serve(Names::new(own.clone()))));
        let own = place.clone();
        services.spawn(again("router advertisements", move || advertise::serve(own.clone())));
    }
    if place.dns {
        for subnet in [place.subnet, place.subnet6] {
            let (resolver, at) = (resolver.clone(), subnet.nth(1));
            services.spawn(again("DNS", move || resolver.clone().serve(at)));
        }
    }
}

/// A service that is begun again whenever it fails.
async fn again<F: Future<Output = io::Result<()>>>(what: &'static str, serve: impl Fn() -> F) {
    let mut said = None;
    loop {
        if let Err(error) = serve().await {
            let why = error.to_string();
            if said.as_ref() != Some(&why) {
                tracing::warn!(%error, "zones have no {what} on their bridge, for now");
                said = Some(why);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
