//! What `top` shows, and how it is drawn.

use crate::failure::{Failure, Result};
use crate::history::Reader;
use crate::look::{Look, Owner};
use crate::names;
use crate::remote::{self, Remote};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use std::time::{Duration, Instant};

/// Between two searches for sigplane in a process that has none.
const AGAIN: Duration = Duration::from_secs(5);

/// A line: the signal, the place of its owner in the order in which they are entered, and the owner.
type Entry = (i32, usize, Owner);

/// From this width on there is a place for everything.
const WIDE: u16 = 110;

/// What is known, and how far it is scrolled.
pub struct View {
    pid: i32,
    /// Nothing but what /proc tells.
    only_proc: bool,
    remote: Option<Remote>,
    /// When it was last looked for.
    sought: Option<Instant>,
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
    pub fn new(pid: i32, only_proc: bool) -> Self {
        let (at, span) = (Instant::now(), Duration::ZERO);
        Self {
            pid,
            only_proc,
            remote: None,
            sought: None,
            reader: Reader::of(pid),
            look: None,
            sets: [(0, 0); 65],
            delivered: [(0, 0); 65],
            span,
            at,
            scroll: 0,
        }
    }

    /// Looks at the process.
    pub fn look(&mut self) -> Result<()> {
        if self.remote.is_none()
            && !self.only_proc
            && self.sought.is_none_or(|at| at.elapsed() > AGAIN)
        {
            // It may have executed another program since. Files are searched for that: not at each look.
            self.remote = Remote::find(self.pid)?;
            self.sought = Some(Instant::now());
        }
        let look = match Look::at(self.pid, self.remote.as_ref(), &mut self.reader) {
            Err(Failure::OtherVersion { .. } | Failure::System { .. }) => {
                // Another program in the same process.
                (self.remote, self.sought) = (None, None);
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

    /// Scrolls by so many lines; the next drawing knows where the end is.
    pub fn scroll(&mut self, lines: isize) {
        self.scroll = self.scroll.saturating_add_signed(lines);
    }

    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let Some(look) = &self.look else { return };
        let threads = (look.threads.len() as u16).min(8) + 3;
        let [head, signals, below, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(6),
            Constraint::Length(threads),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        // Without the title and the names of the columns.
        let room = usize::from(signals.height.saturating_sub(2));
        let numbers = look.signals();
        let mut lines: Vec<Entry> = Vec::new();
        for &number in &numbers {
            let owners = look.owners(number).into_iter().enumerate();
            lines.extend(owners.map(|(at, owner)| (number, at, owner)));
        }
        self.scroll = self.scroll.min(lines.len().saturating_sub(room));
        let shown: Vec<_> = lines.iter().skip(self.scroll).take(room).collect();
        let (first, last) = (self.scroll + 1, self.scroll + shown.len());
        let title = match shown.len() {
            rows if rows == lines.len() => format!(" {} signals ", numbers.len()),
            _ => format!(" {} signals, lines {first} to {last} of {} ", numbers.len(), lines.len()),
        };
        frame.render_widget(self.head(look), head);
        let table = self.signals(look, &shown, signals.width < WIDE);
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(table.block(block), signals);
        frame.render_widget(thread_table(look), below);
        let keys = " q quit   ↑ ↓ scroll   ^Z stop";
        frame.render_widget(Line::styled(keys, Style::new().fg(Color::DarkGray)), foot);
    }

    fn head(&self, look: &Look) -> Paragraph<'static> {
        let status = &look.status;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let under = match &look.history {
            Some(history) => format!("under the shim: {}", history.executable.display()),
            None if remote::is_closed(status.id) => {
                "closed to this user: what /proc tells".to_owned()
            }
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

    fn signals(&self, look: &Look, shown: &[&Entry], narrow: bool) -> Table<'static> {
        let rows = shown.iter().map(|(number, at, [handler, by, _, flags])| {
            let number = *number;
            let has = |bits: u64| bits >> (number - 1) & 1 == 1;
            let blocked = look.threads.iter().filter(|thread| has(thread.blocked)).count();
            let pending = look.threads.iter().filter(|thread| has(thread.pending)).count()
                + usize::from(has(look.status.shared));
            let some = |count: usize| if count == 0 { String::new() } else { count.to_string() };
            // Of the signal, in its first line; the others are behind that.
            let once = |text: String| if *at == 0 { text } else { String::new() };
            let cells = [
                once(names::signal(number)),
                if *at == 0 { look.kernel(number) } else { "then" }.to_owned(),
                once(some(pending)),
                once(some(blocked)),
                once(self.rate(self.delivered[number as usize])),
                handler.clone(),
                by.clone(),
                once(self.rate(self.sets[number as usize])),
                flags.clone(),
            ];
            let style = if pending == 0 { Style::new() } else { Style::new().fg(Color::Yellow) };
            Row::new(cells.into_iter().take(if narrow { 7 } else { 9 })).style(style)
        });
        let columns = [
            ("signal", Constraint::Length(11)),
            ("kernel", Constraint::Length(7)),
            ("pend", Constraint::Length(4)),
            ("block", Constraint::Length(5)),
            ("runs/s", Constraint::Length(6)),
            ("handler", Constraint::Fill(3)),
            ("installed by", Constraint::Fill(4)),
            ("sets/s", Constraint::Length(6)),
            ("flags", Constraint::Fill(2)),
        ];
        // Those at the end are the first that there is no place for.
        let columns = &columns[..if narrow { 7 } else { 9 }];
        let header = Row::new(columns.iter().map(|(name, _)| *name));
        let header = header.style(Style::new().add_modifier(Modifier::BOLD));
        Table::new(rows, columns.iter().map(|(_, width)| *width)).header(header)
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
