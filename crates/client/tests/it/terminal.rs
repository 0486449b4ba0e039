//! A person at a terminal of their own: a home directory, streams that are kept, a clock.

use std::io::{self, Cursor, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base::ManualClock;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{Environment, Secret, Streams, Terminal, Trace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Answer, Server};

/// When these tests take place, in seconds since 1970.
pub const NOW: u64 = 1_700_000_000;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Done {
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Fails the test with everything printed unless the command ended like this.
    #[track_caller]
    pub fn ends(self, code: u8) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Fails the test unless standard output contains these texts in this order.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        let mut rest = self.out.as_str();
        for text in texts {
            let at = rest.find(text).unwrap_or_else(|| {
                panic!(
                    "{text:?} is not (or too early) in:\n{}\nerr: {}",
                    self.out, self.err
                )
            });
            rest = &rest[at + text.len()..];
        }
        self
    }

    /// Fails the test unless standard error contains this text.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(
            self.err.contains(text),
            "{text:?} is not in:\n{}\nout: {}",
            self.err,
            self.out
        );
        self
    }
}

/// Somebody with a home directory.
pub struct Person {
    pub home: TempDir,
    pub input: String,
    pub password: String,
    pub docker_password: String,
    /// After how many bytes standard output closes.
    pub patience: usize,
    pub clock: ManualClock,
}

impl Person {
    pub fn new() -> Self {
        // Several tests may come here first; the first one wins and all get the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            home: tempfile::tempdir().unwrap(),
            input: String::new(),
            password: String::new(),
            docker_password: String::new(),
            patience: usize::MAX,
            clock: ManualClock::new(UNIX_EPOCH + Duration::from_secs(NOW)),
        }
    }

    /// Somebody logged in, with org "o" and space "s" targeted.
    pub async fn at_work(server: &Server) -> Self {
        let person = Self::new();
        server.on("GET /login", prompts());
        server.on("POST /oauth/token", Answer::json(200, tokens(NOW + 600)));
        server.list("GET /v3/organizations", json!([{"guid": "O", "name": "o"}]));
        server.list("GET /v3/spaces", json!([{"guid": "S", "name": "s"}]));
        person
            .run(&format!("login -a {} -u ann -p pw", server.url))
            .await
            .ends(0);
        person
    }

    /// Runs a command line, given as words.
    pub async fn run(&self, line: &str) -> Done {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>()).await
    }

    /// Runs a command line.
    pub async fn run_words(&self, words: &[&str]) -> Done {
        let (out, err) = (Kept::new(self.patience), Kept::new(usize::MAX));
        let streams = Streams {
            input: Box::new(Cursor::new(self.input.clone())),
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
        };
        let environment = Environment {
            program: "cf".into(),
            version: "1.2.3".into(),
            home: Some(self.home.path().to_owned()),
            directory: self.home.path().to_owned(),
            docker_password: Secret::new(&*self.docker_password),
            username: String::new(),
            password: Secret::new(&*self.password),
            staging_timeout: Duration::from_secs(5),
            startup_timeout: Duration::from_secs(2),
            trace: Trace::Off,
            colour: false,
            terminal: Terminal::default(),
            streams,
            clock: Arc::new(self.clock.clone()),
        };
        let args = words.iter().map(|&word| word.to_owned()).collect();
        let run = tokio::time::timeout(Duration::from_secs(60), sendable(client::run(args, environment)));
        let code = run
            .await
            .unwrap_or_else(|_| panic!("{words:?} does not end; out: {}\nerr: {}", out.text(), err.text()));
        Done {
            code,
            out: out.text(),
            err: err.text(),
        }
    }

    /// Writes a file into the home directory, which is also where commands run.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    pub fn config(&self) -> Value {
        let path = self.home.path().join(Path::new(".slipway/config.json"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

/// A command line can run on any thread.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

pub fn prompts() -> Answer {
    Answer::json(
        200,
        json!({"prompts": {"username": ["text", "Email"], "password": ["password", "Password"]}}),
    )
}

/// An access token of "ann" that ends at `exp`.
pub fn token(exp: u64) -> String {
    let claims = json!({"user_name": "ann", "user_id": "U", "origin": "uaa", "client_id": "cf", "exp": exp});
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

pub fn tokens(exp: u64) -> Value {
    json!({"access_token": token(exp), "refresh_token": "refresh-1", "token_type": "bearer"})
}

#[derive(Clone)]
struct Kept(Arc<Mutex<Vec<u8>>>, usize);

impl Kept {
    fn new(patience: usize) -> Self {
        Self(Arc::default(), patience)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap();
        kept.extend_from_slice(bytes);
        if kept.len() > self.1 {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(bytes.len())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
