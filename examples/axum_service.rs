//! An HTTP service, made with axum, that behaves well under signals: it drains on the first SIGINT or
//! SIGTERM, reads its configuration again on SIGHUP, and prints the signal table on SIGUSR1.
//!
//! ```sh
//! cargo run --release --example axum_service -- --config service.conf --log access.log --limit 10
//! ```
//!
//! `service.conf` has lines such as `greeting = Good morning` and `longest_ms = 5000`; `--help` lists
//! the options. Try it from a second terminal:
//!
//! ```sh
//! curl http://127.0.0.1:8080/greet/Ada        # greets
//! curl http://127.0.0.1:8080/work?ms=4000 &   # a request that stays in flight
//! curl http://127.0.0.1:8080/status           # JSON: counters, configuration, who owns which signal
//! kill -HUP  $(pgrep axum_service)            # after an edit of service.conf: the next greeting is new
//! kill -USR1 $(pgrep axum_service)            # the table, on the service's standard error
//! kill -TERM $(pgrep axum_service)            # drains: the request in flight gets its answer
//! ```
//!
//! What to look at:
//! * A SIGHUP with a broken file is reported, and the old configuration stays. A request keeps the
//!   configuration that it began with.
//! * After SIGTERM new connections are refused, requests in flight get their whole responses, the access
//!   log is written out, and the exit status is 0; the last line says who asked. With `--notice 5`,
//!   the service goes on serving for five seconds after the signal while `/status` says `"draining":
//!   true`, so that a load balancer can look elsewhere before anybody is refused.
//! * A second signal, or the limit, ends the process at once by the signal: a shell shows 130 or 143.
//!   That works even if the runtime hangs.
//!
//! What graceful means for a connection: one whose request the service has begun to handle is finished,
//! and closed after the response. One that is idle is closed at once: kept alive after a response, or
//! accepted and silent. So is one whose request is on its way but has not been read yet; nothing has been
//! done for it, and the client may repeat it elsewhere. `--notice` makes all of these rare.
//!
//! Exit status: 0 when it has drained, 1 when it could not start or the access log is incomplete.

#[path = "axum_service/config.rs"]
mod config;
#[path = "axum_service/log.rs"]
mod log;
#[path = "axum_service/service.rs"]
mod service;

use clap::Parser;
use config::Config;
use log::AccessLog;
use service::Service;
use sigplane::Signal;
use sigplane_async::{BuilderExt, Outcome, Reload, Shutdown, SignalStream};
use std::error::Error;
use std::future::IntoFuture;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// A greeting service that drains, reloads and explains itself.
#[derive(Parser)]
struct Options {
    /// The port on 127.0.0.1; 0 lets the kernel choose, and the first line of output tells it.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The configuration file, read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to append the access log, a line per request.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// How long draining may take, from the signal on; 0 for as long as it takes.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    limit: Duration,
    /// How long to go on serving after the signal, before new connections are refused.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    notice: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("axum_service: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    // All signals first: whoever reads "listening on" may send any of them.
    let mut builder = Shutdown::builder();
    if !options.limit.is_zero() {
        builder = builder.limit(options.limit);
    }
    let shutdown = builder.start()?;
    let reloads = sigplane_async::reload()?;
    let dumps = sigplane::subscribe(Signal::USR1).name("dump").stream()?;

    let config = options.config.as_deref().map(Config::load).transpose()?.unwrap_or_default();
    let service = Arc::new(Service::new(config, shutdown.token()));
    let log = match &options.log {
        Some(path) => {
            let (log, written) = AccessLog::open(path)?;
            // The hook begins with the signal, and ends when the last request has dropped its `log`.
            shutdown.hook("access log", async move {
                if let Err(error) = written.await.expect("the writer does not panic") {
                    panic!("the access log is incomplete: {error}");
                }
            });
            log
        }
        None => AccessLog::none(),
    };
    // Never ended before the process: while it drains, SIGHUP must not find its default action, which
    // is to kill.
    tokio::spawn(reload(reloads, options.config, Arc::clone(&service)));
    tokio::spawn(dump(dumps));

    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    println!("listening on {}", listener.local_addr()?);
    let (requested, notice) = (shutdown.requested(), options.notice);
    let server = axum::serve(listener, service::router(Arc::clone(&service), log))
        .with_graceful_shutdown(async move {
            requested.await;
            tokio::time::sleep(notice).await;
        });
    let server = tokio::spawn(server.into_future());

    shutdown.requested().await;
    if let Some(event) = shutdown.first() {
        println!("{event}: draining, {} in flight", service.in_flight());
    }
    server.await??;
    Ok(report(&shutdown.finished().await, &service))
}

/// The last line: how it ended, and who asked.
fn report(outcome: &Outcome, service: &Service) -> ExitCode {
    let who = match &outcome.first {
        Some(event) => match event.sender() {
            Some(sender) => format!("process {} of user {}", sender.pid, sender.uid),
            None => "the kernel".to_owned(), // Ctrl-C comes from the terminal, not from a process.
        },
        None => "the program itself".to_owned(),
    };
    let signal = outcome.first.as_ref().map_or("no signal", |event| event.signal().name());
    let hooks = match &outcome.panicked[..] {
        [] => String::new(),
        names => format!("; failed: {}", names.join(", ")),
    };
    println!("drained: {}; asked by {who} with {signal}{hooks}", service.summary());
    if outcome.panicked.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the configuration again for every burst of SIGHUP.
async fn reload(mut requests: Reload, path: Option<PathBuf>, service: Arc<Service>) {
    loop {
        let event = requests.recv().await;
        let Some(path) = path.clone() else {
            eprintln!("{event}: there is no --config to read");
            continue;
        };
        // Files block, so not on a worker.
        let loaded = tokio::task::spawn_blocking(move || Config::load(&path)).await;
        match loaded.expect("loading does not panic") {
            Ok(config) => {
                println!("{event}: {config}");
                service.reconfigure(config);
            }
            Err(error) => {
                eprintln!("{event}: {error}; the old configuration stays");
                service.keep_configuration();
            }
        }
    }
}

/// Prints the table for every SIGUSR1.
async fn dump(mut requests: SignalStream) {
    loop {
        requests.recv().await;
        eprintln!("{}", sigplane::table());
    }
}
