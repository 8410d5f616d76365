//! du: where the disk went. Each layer is counted once, so that the figures add up.

use std::collections::BTreeMap;
use std::io;

use zone_api::{ApiError, DiskUse, ZoneDisk};

use super::registry::Entry;
use super::{Zones, because};
use crate::image::tree::disk;
use crate::state::atomic;
use crate::storage::{LayerId, Meta};

impl Zones {
    /// What each zone, the layers that are shared and the images take.
    ///
    /// # Errors
    /// When something cannot be looked at.
    pub fn disk_use(&self) -> Result<DiskUse, ApiError> {
        let wrong = |error: io::Error| because("count what zones take", &error);
        let mut sizes = BTreeMap::new();
        for id in self.layers.all().map_err(wrong)? {
            let _pin = self.layers.pin([id.clone()]);
            match self.layer_size(&id) {
                Ok(size) => drop(sizes.insert(id, size)),
                // Removed since the store was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(wrong(error)),
            }
        }
        let zones: Vec<(String, std::collections::BTreeSet<LayerId>, std::path::PathBuf)> = {
            let table = self.lock();
            let one =
                |(name, entry): (&String, &Entry)| (name.clone(), entry.layers(), self.data_of(name, entry));
            table.zones.iter().map(one).collect()
        };
        let images = self.images.used_layers();
        let mut users: BTreeMap<&LayerId, usize> = BTreeMap::new();
        for id in zones.iter().flat_map(|(_, layers, _)| layers).chain(&images) {
            *users.entry(id).or_default() += 1;
        }
        let sum = |ids: &mut dyn Iterator<Item = &LayerId>| ids.filter_map(|id| sizes.get(id)).sum();
        let mut all = Vec::new();
        for (name, layers, folder) in &zones {
            let records = self.store.folder(name);
            let mut own = disk(folder).map_err(wrong)?;
            if records != *folder {
                own += disk(&records).map_err(wrong)?;
            }
            all.push(ZoneDisk {
                name: name.clone(),
                own,
                layers: sum(&mut layers.iter().filter(|id| users.get(id) == Some(&1))),
                shared: sum(&mut layers.iter().filter(|id| users.get(id) > Some(&1))),
            });
        }
        let shared = sum(&mut users.iter().filter(|(_, count)| **count > 1).map(|(id, _)| *id));
        let images = sum(&mut images.iter().filter(|id| users.get(id) == Some(&1)));
        let unused = sum(&mut sizes.keys().filter(|id| !users.contains_key(id)));
        let total = all.iter().map(|zone| zone.own + zone.layers).sum::<u64>() + shared + images + unused;
        Ok(DiskUse { zones: all, shared, images, unused, total })
    }

    /// Bytes of a layer: it never changes, so they are counted once in its life.
    fn layer_size(&self, id: &LayerId) -> io::Result<u64> {
        let meta = self.layers.meta(id)?;
        if meta.disk > 0 {
            return Ok(meta.disk);
        }
        let folder = self.layers.folder(id);
        let counted = Meta { disk: disk(&folder)?, ..meta };
        atomic::write(&folder.join("layer.json"), &serde_json::to_vec(&counted)?, 0o600)?;
        Ok(counted.disk)
    }
}
