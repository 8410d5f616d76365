//! Names of live zones and what they lead to: `RUN/hosts`, in the form of hosts(5), for whoever resolves them on
//! the host, and the same from the records for zones.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::record::{self, Record};
use super::{Hold, Interface, Place};
use crate::config::network::Block;
use crate::confine::Failure;
use crate::state::atomic;

/// Name of the file in the run folder.
const FILE: &str = "hosts";

/// Writes the file anew from the records of all zones; whoever changes one has the network's lock and does this after it.
pub(super) fn write(place: &Place, records: &[(String, Record)]) -> Result<(), Failure> {
    let path = place.run.join(FILE);
    let text = text(&place.domain, records);
    if text.is_empty() {
        return match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::new("remove", path.display(), e)),
            _ => Ok(()),
        };
    }
    atomic::write(&path, text.as_bytes(), 0o644).map_err(|e| Failure::new("write", path.display(), e))
}

fn text(domain: &str, records: &[(String, Record)]) -> String {
    let mut lines: Vec<String> = records
        .iter()
        .flat_map(|(zone, record)| record.addresses.iter().map(move |block| (zone, block)))
        .filter_map(|(zone, block)| {
            let block: Block = block.parse().ok()?;
            Some(format!("{}\t{zone}.{domain} {zone}\n", block.address))
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// A live zone with an interface on zoned's bridge.
#[derive(Debug, Clone)]
pub(super) struct Neighbour {
    pub(super) hostname: String,
    pub(super) interface: Interface,
}

/// All live zones with addresses, as of now.
#[derive(Debug)]
pub(super) struct Names {
    place: Place,
    /// What [`FILE`] was when it was looked at last: each writing makes another file.
    seen: Option<(u64, i64, i64)>,
    records: Vec<(String, Record)>,
}

impl Names {
    pub(super) fn new(place: Place) -> Self {
        let mut names = Self { place, seen: None, records: Vec::new() };
        names.refresh();
        names
    }

    /// Looks whether zones came or went. To be done once for each question.
    pub(super) fn refresh(&mut self) {
        let stamp = stamp(&self.place.run.join(FILE));
        if stamp != self.seen {
            self.records = record::all(&self.place.run);
            self.seen = stamp;
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The one on zoned's bridge with that hardware address.
    pub(super) fn by_mac(&self, mac: &[u8]) -> Option<Neighbour> {
        let ports = self.records.iter().flat_map(|(zone, record)| {
            record.ports.iter().map(move |(_, interface)| (zone, &record.hostname, interface))
        });
        let mut own = ports.filter(|(_, _, interface)| interface.hold == Hold::Own);
        let (zone, hostname, interface) = own.find(|(_, _, interface)| interface.mac == mac)?;
        let hostname = if hostname.is_empty() { zone } else { hostname };
        Some(Neighbour { hostname: hostname.clone(), interface: interface.clone() })
    }

    /// The addresses of a zone; `None` where no live zone has that name. Names on the network have no case.
    pub(super) fn addresses(&self, zone: &str) -> Option<Vec<IpAddr>> {
        let (_, record) = self.records.iter().find(|(name, _)| name.eq_ignore_ascii_case(zone))?;
        let blocks = record.addresses.iter().filter_map(|text| text.parse::<Block>().ok());
        Some(blocks.map(|block| block.address).collect())
    }

    /// The zone with that address.
    pub(super) fn zone_at(&self, address: IpAddr) -> Option<&str> {
        let has = |record: &Record| {
            let mut blocks = record.addresses.iter().filter_map(|text| text.parse::<Block>().ok());
            blocks.any(|block| block.address == address)
        };
        self.records.iter().find(|(_, record)| has(record)).map(|(zone, _)| zone.as_str())
    }
}

fn stamp(path: &Path) -> Option<(u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_line() {
        let record = |addresses: &[&str]| Record {
            addresses: addresses.iter().map(|&a| a.to_owned()).collect(),
            ..Record::default()
        };
        let records = [
            ("web".to_owned(), record(&["10.88.1.2/16", "fd00::2/64"])),
            ("db".to_owned(), record(&["10.88.1.1/16"])),
            ("mute".to_owned(), record(&[])),
        ];
        assert_eq!(
            text("zones.internal", &records),
            "10.88.1.1\tdb.zones.internal db\n10.88.1.2\tweb.zones.internal web\nfd00::2\tweb.zones.internal web\n"
        );
    }

    #[test]
    fn zones_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::of_test(dir.path());
        let mut names = Names::new(place.clone());
        assert_eq!(names.addresses("web"), None);
        let zone = dir.path().join("web");
        fs::create_dir(&zone).unwrap();
        let record = Record { addresses: vec!["10.88.1.2/16".into()], ..Record::default() };
        record.write(&zone).unwrap();
        write(&place, &record::all(dir.path())).unwrap();
        names.refresh();
        assert_eq!(names.addresses("WEB"), Some(vec!["10.88.1.2".parse().unwrap()]));
        assert_eq!(names.zone_at("10.88.1.2".parse().unwrap()), Some("web"));
        Record::forget(&zone).unwrap();
        write(&place, &record::all(dir.path())).unwrap();
        names.refresh();
        assert_eq!(names.addresses("web"), None);
        assert!(!dir.path().join(FILE).exists());
    }
}
