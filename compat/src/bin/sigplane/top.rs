//! `sigplane top`: a process's signals, live.
//!
//! The terminal is put back on every way out: by `q`, by an error, by a panic, and by the signals that end
//! a terminal program, which come through sigplane itself as ordinary events; so nothing is interrupted
//! in the middle of drawing. Stopped by ^Z, it lets go of the terminal and takes it again.

use crate::failure::{Failure, Result};
use crate::history::Reader;
use crate::names;
use crate::remote::Remote;
use crate::table::Look;
use clap::Args;
use ratatui::Frame;
use ratatui::crossterm::{execute, terminal};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};
use ratatui::{Terminal, backend::CrosstermBackend};
use sigplane::{Inbox, Signal, SignalSet};
use std::io::{self, IsTerminal, Stdout};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Watch a process's signals live: owners, changes, pending and blocked.
///
/// Keys: q or ^C quits, arrow keys or j and k scroll, ^Z stops.
#[derive(Args)]
pub struct Top {
    /// The process
    pid: i32,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    interval: f64,
}

/// The terminal, taken; given back when dropped.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    fn take() -> Result<Self> {
        let failed = |source| Failure::System { what: "the terminal", source };
        terminal::enable_raw_mode().map_err(failed)?;
        // From here on `give_back` is owed.
        let drawn = execute!(io::stdout(), terminal::EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match drawn {
            Ok(terminal) => Ok(Self { terminal }),
            Err(source) => {
                give_back();
                Err(failed(source))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    let _shown =
        execute!(io::stdout(), terminal::LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
    let _mode = terminal::disable_raw_mode();
}

/// Why the loop ended.
enum End {
    Asked,
    Gone,
    By(Signal),
}

impl Top {
    pub fn run(self) -> Result<i32> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::NoTerminal);
        }
        let remote = Remote::find(self.pid)?;
        let mut view = View::new(self.pid, remote, Reader::default());
        view.look()?;
        let ending = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
        let own = [Signal::WINCH, Signal::TSTP, Signal::CONT];
        let set: SignalSet = ending.into_iter().chain(own).collect();
        let signals = sigplane::subscribe(set).inbox().map_err(|error| Failure::System {
            what: "subscribing",
            source: io::Error::other(error),
        })?;
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            usual(panic);
        }));
        let mut screen = Some(Screen::take()?);
        let end = self.watch(&mut view, &mut screen, &signals);
        drop(screen);
        drop(signals);
        match end? {
            End::Asked => {}
            End::Gone => println!("process {} has ended", self.pid),
            // As whoever sent it expects: the shell is to see that it was this signal.
            End::By(signal) => {
                let _ended = sigplane::send::raise(signal);
            }
        }
        Ok(0)
    }

    fn watch(&self, view: &mut View, screen: &mut Option<Screen>, signals: &Inbox) -> Result<End> {
        let failed = |source| Failure::System { what: "the terminal", source };
        let interval = Duration::from_secs_f64(self.interval.clamp(0.05, 3600.0));
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                match view.look() {
                    Ok(()) => {}
                    Err(Failure::NoProcess(_)) => return Ok(End::Gone),
                    Err(failure) => return Err(failure),
                }
                next = Instant::now() + interval;
            }
            if let Some(screen) = screen {
                screen.terminal.draw(|frame| view.draw(frame)).map_err(failed)?;
            }
            wait(signals, next.saturating_duration_since(Instant::now())).map_err(failed)?;
            while let Some(event) = signals.try_recv() {
                match event.signal() {
                    Signal::WINCH => {}
                    Signal::TSTP => {
                        drop(screen.take());
                        // The true stop, which the shell sees as one by this signal's default action.
                        // SAFETY: a signal to ourselves.
                        unsafe { libc::raise(libc::SIGSTOP) };
                        *screen = Some(Screen::take()?);
                    }
                    Signal::CONT if screen.is_none() => *screen = Some(Screen::take()?),
                    Signal::CONT => {}
                    signal => return Ok(End::By(signal)),
                }
            }
            for key in keys() {
                match key {
                    Key::Quit => return Ok(End::Asked),
                    Key::Stop => {
                        let _sent = sigplane::send::raise(Signal::TSTP);
                    }
                    Key::Up => view.scroll = view.scroll.saturating_sub(1),
                    Key::Down => view.scroll += 1,
                }
            }
        }
    }
}

/// Waits for a key, a signal, or the time.
fn wait(signals: &Inbox, time: Duration) -> io::Result<()> {
    let of = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut fds = [of(libc::STDIN_FILENO), of(signals.as_raw_fd())];
    let time = i32::try_from(time.as_millis() + 1).unwrap_or(i32::MAX);
    // SAFETY: two structures.
    if unsafe { libc::poll(fds.as_mut_ptr(), 2, time) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    Ok(())
}

enum Key {
    Quit,
    Stop,
    Up,
    Down,
}

/// The keys that were pressed since, without waiting. In raw mode ^C and ^Z are keys.
fn keys() -> Vec<Key> {
    let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
    let mut bytes = [0_u8; 64];
    // SAFETY: one structure.
    if unsafe { libc::poll(&raw mut input, 1, 0) } <= 0 {
        return Vec::new();
    }
    // SAFETY: a buffer with its length.
    let read = unsafe { libc::read(libc::STDIN_FILENO, bytes.as_mut_ptr().cast(), bytes.len()) };
    if read <= 0 {
        return vec![Key::Quit]; // The terminal is gone.
    }
    let mut keys = Vec::new();
    let mut rest = &bytes[..read as usize];
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'q' | b'Q' | 0x03 => keys.push(Key::Quit),
            0x1a => keys.push(Key::Stop),
            b'k' => keys.push(Key::Up),
            b'j' => keys.push(Key::Down),
            0x1b if after.starts_with(b"[A") => keys.push(Key::Up),
            0x1b if after.starts_with(b"[B") => keys.push(Key::Down),
            _ => {}
        }
    }
    keys
}

struct View {
    pid: i32,
    remote: Option<Remote>,
    reader: Reader,
    look: Option<Look>,
    /// By signal: how often its action had been set at the last two looks, and how often it had been
    /// delivered through sigplane.
    sets: [(u64, u64); 65],
    delivered: [(u64, u64); 65],
    /// Between these.
    span: Duration,
    at: Instant,
    scroll: usize,
}

impl View {
    fn new(pid: i32, remote: Option<Remote>, reader: Reader) -> Self {
        let (at, span) = (Instant::now(), Duration::ZERO);
        Self {
            pid,
            remote,
            reader,
            look: None,
            sets: [(0, 0); 65],
            delivered: [(0, 0); 65],
            span,
            at,
            scroll: 0,
        }
    }

    fn look(&mut self) -> Result<()> {
        if self.remote.is_none() {
            // It may have executed another program since.
            self.remote = Remote::find(self.pid)?;
        }
        let look = match Look::at(self.pid, self.remote.as_ref(), &mut self.reader) {
            Err(Failure::OtherVersion { .. } | Failure::System { .. }) => {
                // Another program in the same process.
                self.remote = Remote::find(self.pid)?;
                Look::at(self.pid, None, &mut self.reader)?
            }
            other => other?,
        };
        if look.status.state.starts_with('Z') {
            return Err(Failure::NoProcess(self.pid));
        }
        for (number, (before, now)) in self.sets.iter_mut().enumerate() {
            let signal =
                look.history.as_ref().and_then(|history| history.signals.get(&(number as i32)));
            *before = *now;
            *now = signal.map_or(0, |signal| {
                signal.owners.iter().map(|owner| owner.times).sum::<u64>()
                    + u64::from(signal.crowded)
            });
        }
        for (number, (before, now)) in self.delivered.iter_mut().enumerate() {
            *before = *now;
            *now = look.seen.as_ref().map_or(0, |seen| seen.of(number as i32).delivered);
        }
        self.span = self.at.elapsed();
        self.at = Instant::now();
        self.look = Some(look);
        Ok(())
    }

    /// What was counted, per second.
    fn rate(&self, (before, now): (u64, u64)) -> String {
        let seconds = self.span.as_secs_f64();
        if before == 0 || before >= now || seconds == 0.0 {
            return String::new();
        }
        format!("{:.0}", (now - before) as f64 / seconds)
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let Some(look) = &self.look else { return };
        let threads = (look.threads.len() as u16).min(8) + 3;
        let [head, signals, below, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(6),
            Constraint::Length(threads),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(look), head);
        self.signals(look, frame, signals);
        frame.render_widget(thread_table(look), below);
        let keys = " q quit   ↑ ↓ scroll   ^Z stop";
        frame.render_widget(Line::styled(keys, Style::new().fg(Color::DarkGray)), foot);
    }

    fn head(&self, look: &Look) -> Paragraph<'static> {
        let status = &look.status;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let under = match &look.history {
            Some(history) => format!("under the shim: {}", history.executable.display()),
            None => "not under the shim: what /proc tells".to_owned(),
        };
        let first = Line::from(vec![
            Span::styled(format!("{} {}", status.id, status.name), bold),
            Span::raw(format!("   {}   {} threads   {under}", status.state, status.threads)),
        ]);
        let (used, limit) = status.queued;
        let pending = names::mask(status.shared);
        let second =
            format!("queued by this user {used} of {limit}   pending for the process: {pending}");
        Paragraph::new(vec![first, Line::raw(second)])
    }

    fn signals(&self, look: &Look, frame: &mut Frame<'_>, area: Rect) {
        let numbers = look.signals();
        let room = area.height.saturating_sub(3) as usize;
        let first = self.scroll.min(numbers.len().saturating_sub(room));
        let rows = numbers.iter().skip(first).map(|&number| {
            let has = |bits: u64| bits >> (number - 1) & 1 == 1;
            let blocked = look.threads.iter().filter(|thread| has(thread.blocked)).count();
            let pending = look.threads.iter().filter(|thread| has(thread.pending)).count()
                + usize::from(has(look.status.shared));
            let [mut handler, by, _, flags] = look.owner(number);
            // Subscribers come first, in front of the handler.
            for one in look.seen.iter().flat_map(|seen| seen.subscribers(number)) {
                handler = format!("[{}] {handler}", one.name);
            }
            let some = |count: usize| if count == 0 { String::new() } else { count.to_string() };
            let style = match pending {
                0 => Style::new(),
                _ => Style::new().fg(Color::Yellow),
            };
            Row::new([
                Cell::from(names::signal(number)),
                Cell::from(look.kernel(number)),
                Cell::from(some(pending)),
                Cell::from(some(blocked)),
                Cell::from(self.rate(self.sets[number as usize])),
                Cell::from(self.rate(self.delivered[number as usize])),
                Cell::from(handler),
                Cell::from(by),
                Cell::from(flags),
            ])
            .style(style)
        });
        let widths = [
            Constraint::Length(11),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(7),
            Constraint::Length(7),
            Constraint::Fill(3),
            Constraint::Fill(4),
            Constraint::Fill(2),
        ];
        let names = [
            "signal",
            "kernel",
            "pending",
            "blocked",
            "sets/s",
            "runs/s",
            "handler",
            "installed by",
            "flags",
        ];
        let header = Row::new(names).style(Style::new().add_modifier(Modifier::BOLD));
        let title = format!(
            " signals {}–{} of {} ",
            first + 1,
            numbers.len().min(first + room),
            numbers.len()
        );
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(Table::new(rows, widths).header(header).block(block), area);
    }
}

fn thread_table(look: &Look) -> Table<'static> {
    // Those with something to tell first.
    let mut threads: Vec<_> = look.threads.iter().collect();
    threads.sort_by_key(|thread| (thread.pending == 0, thread.blocked == 0, thread.id));
    let rows = threads.into_iter().map(|thread| {
        Row::new([
            thread.id.to_string(),
            thread.name.clone(),
            names::mask(thread.pending),
            names::mask(thread.blocked),
        ])
    });
    let widths =
        [Constraint::Length(9), Constraint::Length(17), Constraint::Fill(1), Constraint::Fill(3)];
    let header = Row::new(["thread", "name", "pending", "blocked"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    let block = Block::new().borders(Borders::TOP).title(" threads ");
    Table::new(rows.collect::<Vec<_>>(), widths).header(header).block(block)
}
