//! receive: a zone out of a stream. Nothing of the zone changes before all of the stream is here and was as it was sent.

use std::fs::DirBuilder;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Arc, Mutex, PoisonError};

use zone_api::{ApiError, Create, ErrorKind, Progress};

use super::{Zones, because, room};
use crate::config::{self, edit};
use crate::image::{Digest, ImageError, read_upper, take_in_layer};
use crate::state::{Change, Durable, Record, Snapshot, Verb, now, snapshots};
use crate::storage::stream::{Header, Receiver};
use crate::storage::{LayerId, Meta, Pin, backend};

impl Zones {
    /// Makes the zone of a stream, or brings one forward to the stream's snapshot. With `force` what the zone wrote since the
    /// base is given up.
    ///
    /// # Errors
    /// The zone is as it was; one that was made for it is gone again.
    pub fn receive(
        self: &Arc<Self>,
        name: &str,
        force: bool,
        stream: Box<dyn Read + Send>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ApiError> {
        let what = || format!("receive {name}");
        config::check_name(name).map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        let wrong = |error: io::Error| because(what(), &error);
        let (receiver, header) = Receiver::begin(stream).map_err(wrong)?;
        check_header(&header).map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why))?;
        let receiver = Arc::new(Mutex::new(receiver));

        let is_new = self.zone(name).is_err();
        if is_new && let Some((base, _)) = &header.base {
            let why = format!("it holds only what came after {base}, and there is no zone {name}");
            return Err(
                ApiError::new(ErrorKind::NoSuchZone, what(), why).hint("send it without --base first")
            );
        }
        if is_new {
            let toml = edit::rename(&header.config, name).map_err(|error| error.to_api())?;
            self.create(&Create { name: name.to_owned(), toml: Some(toml), ..Create::default() })?;
        }
        let received = self.take_in(name, force, &header, &receiver, progress);
        if received.is_err()
            && is_new
            && let Err(error) = self.delete(name, true)
        {
            tracing::warn!(zone = name, %error, "the zone of a stream that failed is still there");
        }
        if received.is_err() {
            self.sweep_layers();
        }
        received
    }

    fn take_in(
        self: &Arc<Self>,
        name: &str,
        force: bool,
        header: &Header,
        receiver: &Arc<Mutex<Receiver<Box<dyn Read + Send>>>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), ApiError> {
        let _claim = self.claim(name, Verb::Receive)?;
        self.refuse_detached("receive", name)?;
        self.finish_change(name)?;
        self.check_base(name, header, force)?;
        let _pin = self.layers_in(name, header, receiver, progress)?;
        self.layers.settle().map_err(|error| because(format!("receive {name}"), &error))?;

        let state = self.lock().zones.get(name).map(|entry| entry.record.state);
        let begun = Some("receive did not finish".to_owned());
        let snapshot = header.snapshot.as_ref().map(|(snap, made)| {
            let parent = header.base.as_ref().map(|(base, _)| base.clone());
            let (layers, arch) = (header.layers.clone(), header.arch.clone());
            Box::new((snap.clone(), Snapshot { made: *made, layers, parent, arch, held: None }))
        });
        // From here on it is finished after a crash: the root and its snapshot come together.
        self.save(name, |record| {
            let record = match state {
                Some(Durable::Installed) => record.clone(),
                _ => record.to(Durable::Incomplete, None, begun),
            };
            let layers = header.layers.clone();
            Record { change: Some(Change::Receive { layers, snapshot }), arch: header.arch.clone(), ..record }
        })?;
        self.finish_change(name)?;
        let at = header.snapshot.as_ref().map_or_else(String::new, |(snap, _)| format!("@{snap}"));
        self.note(name, &format!("received from {}{at}", header.zone));
        Ok(())
    }

    /// The end of it, the root being there.
    pub(super) fn received(
        &self,
        name: &str,
        layers: &[LayerId],
        snapshot: Option<&(String, Snapshot)>,
    ) -> Result<(), ApiError> {
        if let Some((snap, snapshot)) = snapshot {
            snapshots::write(&self.store.folder(name), snap, snapshot)
                .map_err(|error| because(format!("keep {name}@{snap}"), &room(self.store.zones(), error)))?;
            if let Some(entry) = self.lock().zones.get_mut(name) {
                entry.snapshots.insert(snap.clone(), snapshot.clone());
            }
        }
        let at = snapshot.map(|(snap, _)| snap.clone());
        self.save(name, |record| {
            let layers = layers.to_vec();
            Record { layers, at, change: None, ..record.to(Durable::Installed, None, None) }
        })
    }

    /// Whether the zone can be brought forward to what comes.
    fn check_base(&self, name: &str, header: &Header, force: bool) -> Result<(), ApiError> {
        let refused = |why: String| ApiError::new(ErrorKind::WrongState, format!("receive {name}"), why);
        if let Some((snap, _)) = &header.snapshot
            && self.snapshot_of(name, snap).is_ok()
        {
            return Err(refused(format!("it has a snapshot {snap} already")));
        }
        let table = self.lock();
        let record = table.zones.get(name).map(|entry| entry.record.clone());
        drop(table);
        let Some(record) = record else { return Err(super::no_such_zone("receive", name)) };
        let Some((base, layers)) = &header.base else {
            if record.state == Durable::Configured {
                return Ok(());
            }
            return Err(refused("it has a root already".to_owned()).hint("uninstall it first"));
        };
        let have = self.snapshot_of(name, base)?;
        if have.layers != *layers {
            return Err(refused(format!("its snapshot {base} is another one than the sender's")));
        }
        let upper = backend::upper(&self.data(name));
        let written = std::fs::read_dir(&upper).is_ok_and(|mut entries| entries.next().is_some());
        if (record.layers != *layers || written) && !force {
            return Err(refused(format!("it was changed since {base}"))
                .hint(format!("zonectl rollback {name}@{base}, or receive -F, gives up what it wrote")));
        }
        Ok(())
    }

    /// Puts the layers of a stream into the store, all of them or none that anybody would notice.
    fn layers_in(
        &self,
        name: &str,
        header: &Header,
        receiver: &Arc<Mutex<Receiver<Box<dyn Read + Send>>>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pin, ApiError> {
        let what = || format!("receive {name}");
        let wrong = |error: io::Error| because(what(), &room(self.layers.images(), error));
        let pin = self.layers.pin(header.layers.iter().cloned());
        loop {
            let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).next_layer().map_err(wrong)?;
            let Some(id) = next else { break };
            if !header.layers.contains(&id) {
                return Err(ApiError::new(
                    ErrorKind::Invalid,
                    what(),
                    format!("layer {id} is not of the zone"),
                ));
            }
            let mut archive = Receiver::archive(receiver);
            if self.layers.has(&id) {
                io::copy(&mut archive, &mut io::sink()).map_err(wrong)?;
                continue;
            }
            let came = match &id {
                LayerId::Digest(_) => {
                    let digest = id.to_string().parse::<Digest>();
                    let digest =
                        digest.map_err(|why| ApiError::new(ErrorKind::Invalid, what(), why.to_string()))?;
                    (take_in_layer(&self.layers, "the stream", archive, digest), None)
                }
                LayerId::Own(_) => {
                    let draft = self.layers.draft().map_err(wrong)?;
                    DirBuilder::new().mode(0o755).create(draft.tree()).map_err(wrong)?;
                    (read_upper("the stream", archive, &draft.tree(), progress), Some(draft))
                }
            };
            let (notes, draft) = came;
            let notes = notes.map_err(|error| {
                let hint = error.hint().map(str::to_owned);
                let error = match error {
                    // The draft is gone when this is read.
                    ImageError::NoSpace { more, .. } => {
                        ImageError::NoSpace { dest: self.layers.images().to_owned(), more }
                    }
                    other => other,
                };
                ApiError { hint, ..because(what(), &error) }
            })?;
            for text in notes {
                progress(Progress::Note { text });
            }
            if let Some(draft) = draft {
                draft.publish(&id, &Meta { made: now(), ..Meta::default() }).map_err(wrong)?;
            }
        }
        match header.layers.iter().find(|id| !self.layers.has(id)) {
            None => Ok(pin),
            Some(missing) => {
                let why = format!("layer {missing} is neither in it nor here");
                Err(ApiError::new(ErrorKind::Failed, what(), why).hint("send it without --base"))
            }
        }
    }
}

/// Most layers that a root is taken in with.
const MOST_LAYERS: usize = 500;

fn check_header(header: &Header) -> Result<(), String> {
    let mut seen = std::collections::BTreeSet::<&LayerId>::new();
    if header.layers.is_empty()
        || header.layers.len() > MOST_LAYERS
        || !header.layers.iter().all(|id| seen.insert(id))
    {
        return Err("its list of layers makes no sense".to_owned());
    }
    for name in [header.snapshot.as_ref().map(|(name, _)| name), header.base.as_ref().map(|(name, _)| name)] {
        name.map_or(Ok(()), |name| config::check_name(name))?;
    }
    if header.base.is_some() && header.snapshot.is_none() {
        return Err("it has a base and no snapshot".to_owned());
    }
    Ok(())
}
