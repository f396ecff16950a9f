//! The axum example as a running server, and clients that count what they got.

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sigplane_tests::examples::{example, line_with};
use sigplane_tests::{Exit, Running, eventually};
use std::io::{BufRead, BufReader, PipeReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Runtime;

/// The example, with its files in a directory of their own.
pub struct Server {
    pub running: Running,
    pub address: SocketAddr,
    errors: BufReader<PipeReader>,
    directory: PathBuf,
}

impl Server {
    /// Starts it on a port of the kernel's choice, with a configuration file and an access log.
    pub fn start(arguments: &[&str]) -> Self {
        let directory =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("axum-{}", std::process::id()));
        let _left_over = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("the test may write there");
        let (errors, writer) = std::io::pipe().expect("a pipe");
        let mut command = example("axum_service", &["--port", "0"]);
        command.arg("--config").arg(directory.join("config"));
        command.arg("--log").arg(directory.join("log"));
        command.args(arguments).stderr(writer);
        std::fs::write(directory.join("config"), "greeting = v0\n").expect("written");
        let mut running = Running::start(command);
        let address = line_with(&mut running, "listening on ").parse().expect("an address");
        Self { running, address, errors: BufReader::new(errors), directory }
    }

    /// Replaces the configuration, whole.
    pub fn configure(&self, text: &str) {
        let new = self.directory.join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, self.directory.join("config")).expect("renamed");
    }

    /// The lines of the access log.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("log")).expect("a log");
        text.lines().map(str::to_owned).collect()
    }

    /// Its standard error up to the first line that contains `end`, which is included.
    pub fn errors_until(&mut self, end: &str) -> String {
        let mut text = String::new();
        loop {
            let begin = text.len();
            let read = self.errors.read_line(&mut text).expect("text");
            assert!(read > 0, "its standard error ended without {end:?}:\n{text}");
            if text[begin..].contains(end) {
                return text;
            }
        }
    }

    /// How it ended, and its last line.
    pub fn end(&mut self) -> (Exit, String) {
        let mut last = String::new();
        while let Some(line) = self.running.line() {
            last = line;
        }
        (self.running.wait(), last)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _left_over = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether a client keeps its connections for later requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connections {
    Kept,
    Fresh,
}

/// A whole response, or why there is none.
pub type Answer = Result<(u16, String), String>;

/// An HTTP client for one server; clones count together.
#[derive(Clone)]
pub struct Web {
    kept: Client<HttpConnector, Empty<Bytes>>,
    fresh: Client<HttpConnector, Empty<Bytes>>,
    address: SocketAddr,
    answered: Arc<AtomicUsize>,
}

impl Web {
    pub fn new(address: SocketAddr) -> Self {
        // Nothing is sent a second time: that would hide a loss.
        let mut builder = Client::builder(TokioExecutor::new());
        builder.retry_canceled_requests(false);
        Self {
            kept: builder.build_http(),
            fresh: builder.pool_max_idle_per_host(0).build_http(),
            address,
            answered: Arc::default(),
        }
    }

    pub async fn get(&self, connections: Connections, path: &str) -> Answer {
        let client = match connections {
            Connections::Kept => &self.kept,
            Connections::Fresh => &self.fresh,
        };
        let uri = format!("http://{}{path}", self.address).parse().expect("a URI");
        let response = client.get(uri).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
        self.answered.fetch_add(1, Ordering::Relaxed);
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }

    /// How many whole responses there have been.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// `/status`, by a fresh connection.
    pub fn status(&self, runtime: &Runtime) -> serde_json::Value {
        let answer = runtime.block_on(self.get(Connections::Fresh, "/status"));
        let (status, body) = answer.expect("the server answers");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Waits until a number in `/status` is at least this.
    pub fn until(&self, runtime: &Runtime, name: &str, least: u64) {
        eventually(&format!("{name} of {least}"), || {
            self.status(runtime)[name].as_u64().expect("a number") >= least
        });
    }
}
