//! What fuzz targets reach of the API: the routes, without a socket, over a host that is made up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::peer::Peer;
use super::routes;
use crate::lifecycle::Zones;
use crate::lifecycle::fake::Place;

/// A zoned in a temporary folder.
pub struct Api {
    place: Place,
    router: TowerToHyperService<axum::Router>,
}

impl Api {
    /// One with no zones. It needs a runtime of tokio.
    pub fn new() -> Self {
        let place = Place::new();
        let router = TowerToHyperService::new(routes::router(Arc::clone(&place.zones)));
        Self { place, router }
    }

    /// What the routes act on.
    pub fn zones(&self) -> &Arc<Zones> {
        &self.place.zones
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        self.place.dir.path()
    }

    /// Makes a zone that has a root.
    pub fn install(&self, name: &str) {
        self.place.installed(name);
    }

    /// The answer to a request of root's, or of a user who manages nothing; none where it cannot be one, or none came.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
        trusted: bool,
    ) -> Option<(u16, Vec<u8>)> {
        const PATIENCE: Duration = Duration::from_millis(400);
        let request = Request::builder().method(method).uri(path).header("host", "zoned");
        let mut request = request.body(Body::from(body)).ok()?;
        request.extensions_mut().insert(Peer {
            uid: if trusted { 0 } else { 54_321 },
            trusted,
            named: trusted,
        });
        let answer = tokio::time::timeout(PATIENCE, self.router.call(request)).await.ok()?;
        let Ok(mut answer) = answer;
        let (status, mut said) = (answer.status().as_u16(), Vec::new());
        // What goes on for ever is heard for a moment.
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(PATIENCE / 10, answer.body_mut().frame()).await {
            said.extend(frame.into_data().unwrap_or_default());
        }
        Some((status, said))
    }
}
