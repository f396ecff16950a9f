//! Telemetry by real-time signals: another process streams measurements with sigqueue(3), this one
//! aggregates them live, and proves at the end that it got every one, once and in order.
//!
//! ```sh
//! cargo run --release --example rt_telemetry
//! cargo run --release --example rt_telemetry -- --count 3000000 --channels 6   # time to watch
//! cargo run --release --example rt_telemetry -- --window 0 --count 20000       # push-back alone
//! cargo run --release --example rt_telemetry -- --spoil skip                   # the proof can fail
//! ```
//!
//! Each channel is a real-time signal of its own, SIGRTMIN+1 and so on. A value is 64 bits: a number
//! that counts up from 0, and a measurement, here the response times of a simulated device. The
//! program starts itself as the sender; with `--listen` it waits for one that is started by hand, in a
//! second terminal, by the command that it prints.
//!
//! What to look at: the sender is faster than the receiver. So the receiver gives credit, by signals in
//! the other direction: how many values of a channel it has taken. The sender keeps at most `--window`
//! of them on their way. With `--window 0` it does not wait for credit, and the signals themselves push
//! back: the streams' queues of 128 events fill up, the signals stay blocked, and the kernel keeps what
//! follows, in order and with its values, until its own limit (`ulimit -i`); from there on the sender's
//! sigqueue fails with EAGAIN, and it tries again. Nothing is lost on that way either, but it is slow:
//! the kernel has one list of pending signals for a process and searches it for every delivery, so with
//! several channels the time grows with the square of its length.
//!
//! The exit status is 0 when nothing was lost and 1 otherwise; the lines before the last say what. The
//! progress is drawn on standard error if that is a terminal, the table goes to standard output.

#[path = "rt_telemetry/channel.rs"]
mod channel;
#[path = "rt_telemetry/display.rs"]
mod display;
#[path = "rt_telemetry/histogram.rs"]
mod histogram;
#[path = "rt_telemetry/sender.rs"]
mod sender;
#[path = "rt_telemetry/value.rs"]
mod value;

use channel::Channel;
use clap::Parser;
use display::Bars;
use sigplane::Signal;
use sigplane::send::{self, SendError, Value};
use sigplane_async::{BuilderExt, SignalStream};
use std::convert::Infallible;
use std::error::Error;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Aggregates values that another process sends by real-time signals, and proves that none is lost.
#[derive(Parser)]
struct Options {
    /// How many values in all; they are shared out over the channels.
    #[arg(long, default_value_t = 100_000)]
    count: u32,
    /// How many channels, each a real-time signal.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    channels: u8,
    /// How many values of a channel may be on their way; 0 for as many as the kernel keeps.
    #[arg(long, default_value_t = 256)]
    window: u32,
    /// Start no sender; wait for one that is started by hand.
    #[arg(long)]
    listen: bool,
    /// How many seconds of silence are taken for the end of the sender.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    patience: u64,
    /// Be the sender.
    #[arg(long)]
    send: bool,
    /// Whom to send to; the process that started this one if it is not given.
    #[arg(long, requires = "send")]
    pid: Option<i32>,
    /// Have the sender make a mistake in the middle of the last channel, which the receiver must find.
    #[arg(long)]
    spoil: Option<sender::Spoil>,
}

impl Options {
    /// The signal of each channel, and how many values it gets.
    fn channels(&self) -> impl Iterator<Item = (Signal, u32)> {
        let (all, channels) = (self.count, u32::from(self.channels));
        (0..self.channels).map(move |index| {
            let signal = Signal::rt(index + 1).expect("libc leaves more than 16 of them");
            (signal, all / channels + u32::from(u32::from(index) < all % channels))
        })
    }

    /// The sender's command line, as far as both processes have to agree.
    fn for_the_sender(&self) -> String {
        let Self { count, channels, window, .. } = self;
        format!("--send --count {count} --channels {channels} --window {window}")
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if options.send { sender::run(&options) } else { receive(&options) };
    result.unwrap_or_else(|error| {
        eprintln!("rt_telemetry: {error}");
        ExitCode::FAILURE
    })
}

/// Receives in a multi-thread runtime, one task per channel.
///
/// Order needs one receiving thread. The kernel gives a signal to any thread that does not block it; with
/// two of them, the later of two values may be queued first. So the workers are shielded, and the main
/// thread, which only waits in `block_on`, receives for all. (In a current-thread runtime there is
/// nothing to shield.)
///
/// The workers inherit the shield that stands while the runtime is built. `on_thread_start(shield)` would
/// leave each open between its birth and that call, which may be long on a busy machine. And it is the
/// main thread that starts the sender: a process that a shielded thread starts inherits the blocked signals.
fn receive(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = sigplane::thread::shielded(|| builder.enable_all().build())?;
    match runtime.block_on(aggregate(options))? {}
}

type Shared = Arc<Mutex<Channel>>;

fn lock(channel: &Shared) -> MutexGuard<'_, Channel> {
    channel.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The main part. It does not return but by an error.
async fn aggregate(options: &Options) -> Result<Infallible, Box<dyn Error>> {
    let (mut channels, mut tasks) = (Vec::<Shared>::new(), JoinSet::new());
    for (signal, count) in options.channels() {
        let stream = sigplane::subscribe(signal).name("telemetry").stream()?;
        let channel = Arc::new(Mutex::new(Channel::new(signal, count)));
        tasks.spawn(follow(stream, Arc::clone(&channel)));
        channels.push(channel);
    }
    let sender = start_sender(options)?; // Not before the streams: an early signal would kill us.

    let bars = Bars::new(&channels);
    let mut ended = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let (mut seen, mut since) = (0, Instant::now());
    while !tasks.is_empty() {
        tokio::select! {
            Some(stream) = tasks.join_next() => ended.push(stream?),
            _ = tick.tick() => {
                bars.update(&channels);
                let taken = channels.iter().map(|channel| lock(channel).taken()).sum::<u64>();
                if taken != seen || (options.listen && taken == 0) {
                    (seen, since) = (taken, Instant::now());
                } else if since.elapsed() > Duration::from_secs(options.patience) {
                    break;
                }
            }
        }
    }
    bars.clear();
    display::table(&channels);
    if let Some(sender) = sender {
        print!("{}", last_words(sender, tasks.is_empty())?);
    }
    let code = i32::from(!display::verdict(&channels));
    // Not by returning: the streams stand until the process ends. A sender that goes on after we have
    // given up would otherwise kill us, by a signal that nobody takes any more.
    std::process::exit(code)
}

/// Takes the values of one channel up to its end; gives the stream back, still subscribed.
async fn follow(mut stream: SignalStream, channel: Shared) -> SignalStream {
    loop {
        let event = stream.recv().await;
        let credit = {
            let mut channel = lock(&channel);
            channel.take(&event);
            if channel.has_ended() {
                channel.deepest = stream.stats().deepest;
                return stream;
            }
            channel.credit()
        };
        if let (Some(taken), Some(sender)) = (credit, event.sender()) {
            give(sender.pid, event.signal(), taken).await;
        }
    }
}

/// Tells the sender how many values of a channel have been taken, by the channel's own signal. If the
/// sender's queue in the kernel is full, it is tried again; if it has ended, it needs no credit.
async fn give(sender: i32, signal: Signal, taken: u32) {
    let value = Value::from_addr(taken as usize);
    while send::to_process_with(sender, signal, value).is_err_and(SendError::is_retryable) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn start_sender(options: &Options) -> Result<Option<Child>, Box<dyn Error>> {
    let arguments = options.for_the_sender();
    if options.listen {
        let pid = std::process::id();
        println!("process {pid} waits for: rt_telemetry {arguments} --pid {pid}");
        return Ok(None);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments.split(' ')).stdout(Stdio::piped());
    if let Some(spoil) = options.spoil {
        command.arg("--spoil").arg(spoil.to_string());
    }
    Ok(Some(command.spawn()?))
}

/// What the sender said. It has sent everything, or is silent and ended here.
fn last_words(mut sender: Child, all_came: bool) -> std::io::Result<String> {
    if !all_came {
        sender.kill()?;
    }
    Ok(String::from_utf8_lossy(&sender.wait_with_output()?.stdout).into_owned())
}
