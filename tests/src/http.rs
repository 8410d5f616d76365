//! A small HTTP server, to be as odd as a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET, POST…
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// What was sent along.
    pub body: Vec<u8>,
}

impl Asked {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Value of a word of the query, as it stands there.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn read(stream: &TcpStream) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = headers(&mut reader).ok()?;
        let mut asked = Self { method, path, headers, body: Vec::new() };
        let len = asked.header("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
        reader.take(len).read_to_end(&mut asked.body).ok()?;
        Some(asked)
    }
}

/// Reads headers to their end; names in small letters.
pub(crate) fn headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Value of one of them.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// Serves one request a connection, each in a thread, until the process ends.
#[derive(Debug, Clone)]
pub struct Server {
    /// On 127.0.0.1.
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Lets `answer` write what it likes.
    pub fn start(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen on the loopback");
        let port = listener.local_addr().expect("a listener has an address").port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (noted, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(asked) = Asked::read(&stream) else { return };
                    noted.lock().expect("no thread panics with it").push(asked.clone());
                    answer(&asked, &mut stream);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, asked }
    }

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panics with it").clone()
    }

    /// Forgets that.
    pub fn forget(&self) {
        self.asked.lock().expect("no thread panics with it").clear();
    }

    /// Writes a whole response.
    pub fn respond(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(body));
    }

    /// Has another server answer, and gives `relay` its answer, head and body, to pass on as it likes.
    pub fn relay(asked: &Asked, to: &str, mut relay: impl FnMut(&mut TcpStream)) {
        let Ok(mut stream) = TcpStream::connect(to) else { return };
        let mut head = format!("{} {} HTTP/1.1\r\n", asked.method, asked.path);
        for (name, value) in asked.headers.iter().filter(|(name, _)| name != "connection") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("connection: close\r\n\r\n");
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&asked.body)).is_ok() {
            relay(&mut stream);
        }
    }
}
