//! verify: would a zone boot here.

use zone_api::{ApiError, Verified};

use super::Zones;

impl Zones {
    /// Whether a zone would boot here.
    ///
    /// # Errors
    /// When there is no such zone.
    pub fn verify(&self, name: &str) -> Result<Verified, ApiError> {
        self.known(name, "verify")?;
        match self.config(name) {
            Ok(config) => {
                let mut verified = self.host.verify(&config);
                if let Err(error) = self.check_order(name, &config) {
                    verified.ok = false;
                    verified.findings.push(error.why);
                }
                Ok(verified)
            }
            Err(error) => Ok(Verified { ok: false, findings: vec![error.to_string()] }),
        }
    }
}
