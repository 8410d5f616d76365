//! A registry: the OCI distribution specification, and Docker's tokens.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use serde::Deserialize;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};
use zone_api::ErrorKind;

use super::fault::Fault;
use super::reference::Reference;
use super::wire::Login;

/// Times that one thing is tried while nothing of it comes.
const TRIES: u32 = 5;
const LONGEST_TOKEN: u64 = 1 << 20;
const MOST_REDIRECTS: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// An HTTP response, whatever its status.
pub(super) type Answer = Response<Body>;

/// One repository of a registry.
pub(super) struct Registry {
    agent: Agent,
    reference: Reference,
    scheme: &'static str,
    may_be_plain: bool,
    login: Option<Login>,
    /// Value of the header, once the registry wanted one.
    authorization: Option<String>,
}

/// Tries it again while it fails in a way that may pass, with pauses that grow.
pub(super) fn patiently<T>(mut what: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    let mut tries = 0;
    loop {
        match what() {
            Err(fault) if fault.is_passing => {
                tries += 1;
                if tries == TRIES {
                    return Err(fault);
                }
                pause(tries, &fault);
            }
            other => return other,
        }
    }
}

/// Before try number `tries + 1`.
pub(super) fn pause(tries: u32, fault: &Fault) {
    let grown = Duration::from_millis(250) * 2u32.pow(tries.min(6));
    std::thread::sleep(fault.wait.map_or(grown, |wait| wait.clamp(grown, LONGEST_WAIT)));
}

/// Whether it was tried as often as it is.
pub(super) fn is_enough(tries: u32) -> bool {
    tries >= TRIES
}

fn agent() -> Agent {
    // Certificates that make no sense are left out, as everywhere.
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots = roots.iter().map(|found| Certificate::from_der(found).to_owned()).collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("zoned/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        // They are followed here, so that it is seen where to.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(Duration::from_secs(20)))
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .timeout_per_write(Some(Duration::from_secs(60)))
        .build()
        .new_agent()
}

impl Registry {
    /// Finds out how it is spoken to.
    pub(super) fn connect(
        reference: Reference,
        may_be_plain: bool,
        login: Option<Login>,
    ) -> Result<Self, Fault> {
        let mut registry =
            Self { agent: agent(), reference, scheme: "https", may_be_plain, login, authorization: None };
        let answer = patiently(|| match registry.ping("https") {
            // One whose certificate is no good has TLS.
            Err(fault) if may_be_plain && fault.is_passing => {
                registry.scheme = "http";
                registry.ping("http")
            }
            other => other,
        })?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            patiently(|| registry.log_in(&answer))?;
        }
        Ok(registry)
    }

    fn host(&self) -> &str {
        self.reference.api_host()
    }

    fn ping(&self, scheme: &str) -> Result<Answer, Fault> {
        let host = self.host();
        let answer = self.agent.get(format!("{scheme}://{host}/v2/")).call();
        let answer = answer.map_err(|error| Fault::http(host, error))?;
        match passing(&answer) {
            true => Err(self.refused(answer, false)),
            false => Ok(answer),
        }
    }

    /// What is at `/v2/PATH/` and `rest`, from byte `from` on; 200, 206 or 416.
    pub(super) fn get(&mut self, rest: &str, accept: &str, from: u64) -> Result<Answer, Fault> {
        let url = format!("{}://{}/v2/{}/{rest}", self.scheme, self.host(), self.reference.path);
        let (mut answer, mut is_elsewhere) = self.follow(&url, accept, from)?;
        if answer.status() == StatusCode::UNAUTHORIZED && !is_elsewhere {
            // The first it wants, or the last ran out.
            self.log_in(&answer)?;
            (answer, is_elsewhere) = self.follow(&url, accept, from)?;
        }
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(answer),
            _ => Err(self.refused(answer, is_elsewhere)),
        }
    }

    /// Goes where it is sent; whether that was anywhere.
    fn follow(&self, url: &str, accept: &str, from: u64) -> Result<(Answer, bool), Fault> {
        let failed = |why: &str| Fault::new(format!("{}: {why}", self.host()));
        let parse = |url: &str| url.parse::<Uri>().map_err(|_| failed("it redirects to what is no address"));
        let mut at = parse(url)?;
        for redirects in 0..=MOST_REDIRECTS {
            let mut request = self.agent.get(at.clone()).header("Accept", accept);
            // Only who asked for it gets it.
            let is_home = at.scheme_str() == Some(self.scheme)
                && at.authority().is_some_and(|authority| authority.as_str() == self.host());
            if let Some(authorization) = self.authorization.as_ref().filter(|_| is_home) {
                request = request.header("Authorization", authorization);
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let host = at.host().unwrap_or_default().to_owned();
            let answer = request.call().map_err(|error| Fault::http(&host, error))?;
            if !answer.status().is_redirection() {
                return Ok((answer, redirects > 0));
            }
            let to = answer.headers().get("Location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            let to = match (to.starts_with("//"), to.starts_with('/')) {
                (true, _) => format!("{}:{to}", at.scheme_str().unwrap_or("https")),
                (_, true) => {
                    let authority = at.authority().map(|authority| authority.as_str()).unwrap_or_default();
                    format!("{}://{authority}{to}", at.scheme_str().unwrap_or("https"))
                }
                _ => to.to_owned(),
            };
            let next = parse(&to)?;
            match next.scheme_str() {
                Some("https") => {}
                Some("http") if self.scheme == "http" => {}
                _ => return Err(failed("it redirects to where there is no TLS")),
            }
            at = next;
        }
        Err(failed("it redirects in a circle"))
    }

    /// Has what the answer wants for the next request.
    fn log_in(&mut self, answer: &Answer) -> Result<(), Fault> {
        let denied = |why: String| Fault { kind: ErrorKind::NotPermitted, ..Fault::new(why) };
        let challenges: Vec<Challenge> = answer
            .headers()
            .get_all("WWW-Authenticate")
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let named = |scheme: &str| challenges.iter().find(|found| found.scheme.eq_ignore_ascii_case(scheme));
        if let Some(bearer) = named("bearer") {
            self.authorization = Some(format!("Bearer {}", self.token(bearer)?));
            return Ok(());
        }
        match (named("basic"), &self.login) {
            (Some(_), Some(Login::Password(user, password))) => {
                let value = basic(user, password);
                if self.authorization.as_ref() == Some(&value) {
                    return Err(denied(format!("{}: it does not take this user and password", self.host())));
                }
                self.authorization = Some(value);
                Ok(())
            }
            (Some(_), _) => Err(denied(format!("{}: it wants to know who asks", self.host())).hint(NO_LOGIN)),
            (None, _) => {
                Err(Fault::new(format!("{}: it refuses, and does not say what it wants", self.host())))
            }
        }
    }

    fn token(&self, challenge: &Challenge) -> Result<String, Fault> {
        let realm = challenge.get("realm").unwrap_or_default();
        let failed = |why: &str| Fault::new(format!("{}: {why}", self.host()));
        let uri: Uri = realm.parse().map_err(|_| failed("what gives out its tokens has no address"))?;
        let host = uri.host().unwrap_or_default();
        // A password is worth a look at who will hear it.
        let own = self.reference.host.rsplit_once(':').map_or(&*self.reference.host, |(name, _)| name);
        match uri.scheme_str() {
            Some("https") => {}
            Some("http")
                if self.may_be_plain && (host == own || self.reference.is_local() && is_local(host)) => {}
            _ => return Err(failed("what gives out its tokens has no TLS")),
        }
        let mut asked = format!("scope={}", escaped(&format!("repository:{}:pull", self.reference.path)));
        if let Some(service) = challenge.get("service") {
            asked.push_str(&format!("&service={}", escaped(service)));
        }
        let answer = match &self.login {
            Some(Login::Identity(token)) => {
                asked.push_str(&format!(
                    "&grant_type=refresh_token&client_id=zoned&refresh_token={}",
                    escaped(token)
                ));
                self.agent
                    .post(realm)
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .send(&*asked)
            }
            login => {
                let mark = if realm.contains('?') { '&' } else { '?' };
                let mut request = self.agent.get(format!("{realm}{mark}{asked}"));
                if let Some(Login::Password(user, password)) = login {
                    request = request.header("Authorization", basic(user, password));
                }
                request.call()
            }
        };
        let answer = answer.map_err(|error| Fault::http(host, error))?;
        if answer.status() != StatusCode::OK {
            return Err(self.refused(answer, false));
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = limited(answer, LONGEST_TOKEN).map_err(|e| Fault::passing(format!("{host}: {e}")))?;
        let token: Option<Token> = serde_json::from_slice(&bytes).ok();
        let token = token.and_then(|found| found.token.or(found.access_token));
        // It becomes a line of a header.
        match token {
            Some(token) if token.bytes().all(|b| b.is_ascii_graphic()) && !token.is_empty() => Ok(token),
            _ => Err(failed("what gives out its tokens gave none")),
        }
    }

    /// Why it answered so.
    fn refused(&self, answer: Answer, is_elsewhere: bool) -> Fault {
        let (status, host) = (answer.status(), self.host());
        let is_passing = passing(&answer);
        let seconds = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
        let said = said(answer);
        let fault = |why: String| {
            Fault::new(match &said {
                Some(said) => format!("{why}: {said}"),
                None => why,
            })
        };
        match status.as_u16() {
            404 if !is_elsewhere => fault(format!("{host} has no {}", self.reference)),
            401 | 403 if !is_elsewhere => {
                let who = if self.login.is_some() { "the one known here" } else { "everybody" };
                let why = format!("{host} does not let {who} have {}", self.reference);
                Fault { kind: ErrorKind::NotPermitted, ..fault(why) }.hint(NO_LOGIN)
            }
            429 => Fault {
                is_passing,
                wait: seconds.map(Duration::from_secs),
                ..fault(format!("{host}: too many requests"))
            }
            .hint("log in there to have more, or wait; what came is kept"),
            // A signed address that ran out: the registry gives another.
            _ if is_elsewhere => {
                Fault::passing(format!("{host}: where it redirects to, the answer is {status}"))
            }
            _ => Fault {
                is_passing,
                wait: seconds.map(Duration::from_secs),
                ..fault(format!("{host}: {status}"))
            },
        }
    }
}

const NO_LOGIN: &str = "is its name right? for one that is not for everybody, name a file that docker login or podman login \
    wrote: [images] auth-file in zoned.toml";

fn passing(answer: &Answer) -> bool {
    matches!(answer.status().as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A body that must not be longer.
pub(super) fn limited(answer: Answer, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    answer.into_body().into_reader().take(most + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > most { Err(format!("more than {most} bytes")) } else { Ok(bytes) }
}

/// What a registry says of an error, in its own words (OCI distribution specification).
fn said(answer: Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        message: String,
    }
    let bytes = limited(answer, 64 << 10).ok()?;
    let errors: Errors = serde_json::from_slice(&bytes).ok()?;
    Some(errors.errors.into_iter().next()?.message).filter(|text| !text.is_empty())
}

/// For a query: everything but letters and digits in hex.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `SCHEME KEY=VALUE, KEY="VALUE"` of WWW-Authenticate (RFC 9110).
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', ',', '\t']);
            let Some((key, after)) = rest.split_once('=') else { break };
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                None => {
                    let (value, after) = after.split_once(',').unwrap_or((after, ""));
                    (value.trim().to_owned(), after)
                }
            };
            parameters.push((key.trim().to_ascii_lowercase(), value));
            rest = after;
        }
        Some(Self { scheme: scheme.to_owned(), parameters })
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }
}

/// Text up to the closing quote, and what follows that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut letters) = (String::new(), text.char_indices());
    while let Some((at, c)) = letters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let found = Challenge::parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push", error=x"#,
        )
        .unwrap();
        assert_eq!(found.get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(found.get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(found.get("error"), Some("x"));
        let found = Challenge::parse(r#"Basic realm="a \"b\"""#).unwrap();
        assert_eq!((found.scheme.as_str(), found.get("realm")), ("Basic", Some("a \"b\"")));
        assert_eq!(Challenge::parse("Negotiate").unwrap().scheme, "Negotiate");
        assert!(Challenge::parse(r#"Bearer realm="open"#).is_none());
    }

    #[test]
    fn queries_hold_anything() {
        assert_eq!(escaped("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
    }
}
