//! send: a zone, or what changed in it since a snapshot, as one stream.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use zone_api::{ApiError, ErrorKind};

use super::{Zones, because};
use crate::image::{Form, ImageError, LayerTar, write_tree};
use crate::state::Verb;
use crate::storage::stream::{Header, Sender};
use crate::storage::{LayerId, Pin};

/// A stream that can be written wherever threads may block.
pub struct SendJob {
    zones: Arc<Zones>,
    header: Header,
    /// In the order in which they are sent: those at the bottom first.
    layers: Vec<LayerId>,
    _pin: Pin,
}

impl Zones {
    /// Fixes what is to be sent: a snapshot, or the zone as it is now; without what `base` has.
    ///
    /// # Errors
    /// When there is no such zone or snapshot, or the base is none of it.
    pub fn begin_send(
        self: &Arc<Self>,
        name: &str,
        snap: Option<&str>,
        base: Option<&str>,
    ) -> Result<SendJob, ApiError> {
        self.known(name, "send")?;
        if base.is_some() && snap.is_none() {
            let why = "what came after a snapshot is sent as another snapshot";
            return Err(ApiError::new(ErrorKind::Invalid, format!("send {name}"), why)
                .hint(format!("zonectl snapshot {name}@SNAP, and send that")));
        }
        let (snapshot, layers, pin) = match snap {
            Some(snap) => {
                let (found, pin) = self.pinned(name, snap)?;
                (Some((snap.to_owned(), found.made)), found.layers, pin)
            }
            None => {
                let _claim = self.claim(name, Verb::Snapshot)?;
                let taken = self.capture(name)?;
                (None, taken.layers, taken._pin)
            }
        };
        let base = match base {
            Some(base) => Some((base.to_owned(), self.snapshot_of(name, base)?.layers)),
            None => None,
        };
        let known: BTreeSet<&LayerId> = base.iter().flat_map(|(_, layers)| layers).collect();
        let to_send = layers.iter().rev().filter(|id| !known.contains(id)).cloned().collect();
        let arch = self.lock().zones.get(name).and_then(|entry| entry.record.arch.clone());
        let config = self.config_text(name)?;
        let header = Header { zone: name.to_owned(), config, arch, snapshot, layers, base };
        Ok(SendJob { zones: Arc::clone(self), header, layers: to_send, _pin: pin })
    }
}

impl SendJob {
    /// Writes it.
    ///
    /// # Errors
    /// The stream is then cut off.
    pub fn run(self, to: &mut dyn Write) -> Result<(), ApiError> {
        let zones = Arc::clone(&self.zones);
        let sent = self.write(to);
        // What was made a layer of for the stream alone.
        zones.sweep_layers();
        sent
    }

    fn write(self, to: &mut dyn Write) -> Result<(), ApiError> {
        let what = format!("send {}", self.header.zone);
        let wrong = |error: io::Error| because(what.clone(), &error);
        let mut sender = Sender::begin(to, &self.header).map_err(wrong)?;
        for id in &self.layers {
            let layers = &self.zones.layers;
            let sent = match id {
                // The archive that it is named by: so the receiver can hold it against its name.
                LayerId::Digest(_) => sender.layer(id, |to| {
                    io::copy(&mut LayerTar::read(&layers.folder(id))?, to)?;
                    Ok(())
                }),
                LayerId::Own(_) => {
                    let tree = File::open(layers.tree(id)).map_err(wrong)?;
                    sender.layer(id, |to| {
                        write_tree(tree.as_fd(), Form::Upper, 0, to, &|_| {}).map(drop).map_err(Broken::Image)
                    })
                }
            };
            sent.map_err(|broken| match broken {
                Broken::Image(error) => because(what.clone(), &error),
                Broken::Io(error) => because(what.clone(), &error),
            })?;
        }
        sender.finish().map_err(wrong)
    }
}

enum Broken {
    Image(ImageError),
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
