//! What the service does for its clients: the routes, and a count of what is in flight.

use crate::config::Config;
use crate::log::AccessLog;
use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What all requests share.
pub struct Service {
    started: Instant,
    config: watch::Sender<Arc<Config>>,
    shutdown: CancellationToken,
    requests: AtomicU64,
    in_flight: AtomicU64,
    cut: AtomicU64,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

impl Service {
    pub fn new(config: Config, shutdown: CancellationToken) -> Self {
        Self {
            started: Instant::now(),
            config: watch::Sender::new(Arc::new(config)),
            shutdown,
            requests: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
        }
    }

    /// Requests that begin from now on see this configuration.
    pub fn reconfigure(&self, config: Config) {
        self.config.send_replace(Arc::new(config));
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// A reload has failed.
    pub fn keep_configuration(&self) {
        self.failed_reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that have begun and have no response yet.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub fn summary(&self) -> String {
        let [requests, cut] = [&self.requests, &self.cut].map(|it| it.load(Ordering::Relaxed));
        format!("{requests} requests in {:.1?}, {cut} cut by clients", self.started.elapsed())
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }
}

/// The routes. Every request passes through [`account`].
pub fn router(service: Arc<Service>, log: AccessLog) -> Router {
    let accounting = middleware::from_fn_with_state((Arc::clone(&service), log), account);
    Router::new()
        .route("/", get("try /greet/NAME, /work?ms=NUMBER and /status\n"))
        .route("/greet/{name}", get(greet))
        .route("/work", get(work))
        .route("/status", get(status))
        .with_state(service)
        .layer(accounting)
}

async fn greet(State(service): State<Arc<Service>>, Path(name): Path<String>) -> String {
    format!("{}, {name}!\n", service.config().greeting)
}

#[derive(Deserialize)]
struct Work {
    ms: u64,
}

/// Takes as long as it is told, like a query of a slow database.
async fn work(
    State(service): State<Arc<Service>>,
    Query(Work { ms }): Query<Work>,
) -> Result<String, (StatusCode, String)> {
    let config = service.config(); // One configuration from beginning to end.
    if ms > config.longest_ms {
        let most = config.longest_ms;
        return Err((StatusCode::BAD_REQUEST, format!("at most {most} ms, please\n")));
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(format!("worked for {ms} ms\n"))
}

#[derive(Serialize)]
struct Status {
    pid: u32,
    uptime_seconds: f64,
    requests: u64,
    /// This one included.
    in_flight: u64,
    reloads: u64,
    failed_reloads: u64,
    /// For load balancers: do not send more.
    draining: bool,
    config: Config,
    /// The rows of sigplane's table that somebody subscribes to, all columns of them. For operators:
    /// this service listens on the loopback interface only.
    signals: Vec<sigplane::Row>,
}

async fn status(State(service): State<Arc<Service>>) -> Json<Status> {
    let mut signals = sigplane::table().rows;
    signals.retain(|row| !row.entries.is_empty());
    Json(Status {
        pid: std::process::id(),
        uptime_seconds: service.started.elapsed().as_secs_f64(),
        requests: service.requests.load(Ordering::Relaxed),
        in_flight: service.in_flight(),
        reloads: service.reloads.load(Ordering::Relaxed),
        failed_reloads: service.failed_reloads.load(Ordering::Relaxed),
        draining: service.shutdown.is_cancelled(),
        config: Config::clone(&service.config()),
        signals,
    })
}

/// Counts a request while it is in flight, and logs it.
async fn account(
    State((service, log)): State<(Arc<Service>, AccessLog)>,
    request: Request,
    next: Next,
) -> Response {
    let mut flight = Flight::begin(service, log, &request);
    let response = next.run(request).await;
    flight.status = Some(response.status());
    response
}

/// A request in flight. Dropped with its response, or without one when the client has gone away.
struct Flight {
    service: Arc<Service>,
    log: AccessLog,
    what: (axum::http::Method, Uri),
    began: Instant,
    status: Option<StatusCode>,
}

impl Flight {
    fn begin(service: Arc<Service>, log: AccessLog, request: &Request) -> Self {
        service.requests.fetch_add(1, Ordering::Relaxed);
        service.in_flight.fetch_add(1, Ordering::Relaxed);
        let what = (request.method().clone(), request.uri().clone());
        Self { service, log, what, began: Instant::now(), status: None }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (method, uri) = &self.what;
        let status = self.status.map_or("cut".to_owned(), |status| status.as_str().to_owned());
        self.log.line(format!("{method} {uri} {status} {:.1?}", self.began.elapsed()));
        if self.status.is_none() {
            self.service.cut.fetch_add(1, Ordering::Relaxed);
        }
        self.service.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
