//! `sigplane table`: one look at a process.

use crate::exhibit::Seen;
use crate::failure::Result;
use crate::findings::{Sampled, findings};
use crate::history::{History, Reader};
use crate::look::Look;
use crate::names;
use crate::remote::{self, Remote};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use ratatui::crossterm::terminal;
use serde_json::{Value, json};
use std::io::IsTerminal;

/// Show who owns which signal in a running process.
///
/// For a process under the shim: every signal that was set, with the handler's object and function, who
/// installed it, by which call and when, and who had it before. For any other process: what /proc
/// tells; that is caught, ignored, blocked and pending signals, by name, and no more, because the
/// kernel does not say who caught them.
#[derive(Args)]
pub struct Show {
    /// The process
    pid: i32,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only what /proc tells, even if the process is under the shim
    #[arg(long)]
    proc: bool,
}

impl Show {
    pub fn run(self) -> Result<i32> {
        let remote = if self.proc { None } else { Remote::find(self.pid)? };
        let look = Look::at(self.pid, remote.as_ref(), &mut Reader::of(self.pid))?;
        if self.json {
            println!("{:#}", as_json(&look));
        } else {
            print(&look);
        }
        Ok(0)
    }
}

fn sheet(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_header(header.iter().copied());
    // A file is as wide as need be.
    if std::io::stdout().is_terminal()
        && let Ok((width, _)) = terminal::size()
    {
        table.set_width(width);
    }
    table
}

fn print(look: &Look) {
    let status = &look.status;
    println!(
        "process {} ({}), {} threads, {}; {} of {} queued signals in use",
        status.id,
        status.name,
        status.threads,
        match (&look.history, &look.seen) {
            (Some(_), _) => "under the shim",
            (None, Some(_)) => "sigplane linked in, not under the shim",
            (None, None) if remote::is_closed(status.id) => "closed to this user",
            (None, None) => "not under the shim",
        },
        status.queued.0,
        status.queued.1,
    );
    if remote::is_closed(status.id) {
        println!("whether it is under the shim cannot be seen: run this as its user, or as root");
    }
    match &look.history {
        Some(history) => print_history(look, history),
        None => print_proc(look),
    }
    if let Some(seen) = &look.seen {
        print_subscribers(look, seen);
    }
    print_threads(look);
}

fn print_subscribers(look: &Look, seen: &Seen) {
    if !seen.subscribers.is_empty() {
        let header =
            ["subscriber", "signals", "context", "priority", "queued", "taken", "dropped", "at"];
        let mut table = sheet(&header);
        for one in &seen.subscribers {
            let context = match (one.observes, one.after_legacy) {
                (false, false) => one.context.to_owned(),
                (true, _) => format!("{}, observes", one.context),
                (_, true) => format!("{}, after the handler", one.context),
            };
            table.add_row([
                one.name.clone(),
                names::mask(one.set),
                context,
                one.priority.to_string(),
                one.queued.to_string(),
                one.taken.to_string(),
                one.dropped.to_string(),
                one.location.clone(),
            ]);
        }
        println!("{table}");
    }
    for number in look.signals() {
        let counts = seen.of(number);
        if counts.delivered + counts.pushed_back + counts.lost > 0 {
            println!(
                "{}: {} went through sigplane, {} to the default action, {} deferred, {} pushed back, {} lost",
                names::signal(number),
                counts.delivered,
                counts.passed,
                counts.deferred,
                counts.pushed_back,
                counts.lost
            );
        }
    }
}

fn print_history(look: &Look, history: &History) {
    let mut table = sheet(&["signal", "kernel", "handler", "installed by", "at", "flags"]);
    for number in look.signals() {
        let (mut signal, mut kernel) = (names::signal(number), look.kernel(number));
        for [handler, by, at, flags] in look.owners(number) {
            table.add_row([std::mem::take(&mut signal), kernel.into(), handler, by, at, flags]);
            // Behind the first one.
            kernel = "then";
        }
    }
    println!("{table}");
    for signal in history.signals.values() {
        for owner in signal.former() {
            println!(
                "{}: before, {} by {} at {}{}",
                signal.signal,
                owner.handler.brief(),
                owner.installed_by.brief(),
                names::seconds(owner.nanoseconds),
                if owner.times > 1 { format!(", {} times", owner.times) } else { String::new() }
            );
        }
    }
    for finding in findings(history, &Sampled::default()) {
        println!("{finding}");
    }
}

fn print_proc(look: &Look) {
    let mut table = sheet(&["signal", "kernel", "by default", "pending"]);
    for number in look.signals() {
        let threads = look.threads.iter().map(|thread| thread.pending);
        let pending = threads.fold(look.status.shared, |all, one| all | one);
        let pending = pending >> (number - 1) & 1 == 1;
        table.add_row([
            names::signal(number),
            look.kernel(number).into(),
            names::default_action(number).into(),
            if pending { "yes" } else { "" }.into(),
        ]);
    }
    println!("{table}");
}

fn print_threads(look: &Look) {
    let mut table = sheet(&["thread", "name", "blocked", "pending"]);
    for thread in &look.threads {
        let pending = names::mask(thread.pending);
        table.add_row([
            thread.id.to_string(),
            thread.name.clone(),
            names::mask(thread.blocked),
            pending,
        ]);
    }
    println!("{table}");
    if look.status.shared != 0 {
        println!("pending for the process: {}", names::mask(look.status.shared));
    }
}

fn as_json(look: &Look) -> Value {
    let list = |mask: u64| names::members(mask).map(names::signal).collect::<Vec<_>>();
    let threads = look.threads.iter().map(|thread| {
        json!({
            "thread": thread.id, "name": thread.name, "blocked": list(thread.blocked),
            "pending": list(thread.pending),
        })
    });
    let history = look.history.as_ref();
    json!({
        "version": 1,
        "process": look.status.id,
        "name": look.status.name,
        "under_shim": history.is_some(),
        "closed": remote::is_closed(look.status.id),
        "caught": list(look.status.caught),
        "ignored": list(look.status.ignored),
        "pending": list(look.status.shared),
        "queued": { "used": look.status.queued.0, "limit": look.status.queued.1 },
        "threads": threads.collect::<Vec<_>>(),
        "subscribers": look.seen.as_ref().map(|seen| &seen.subscribers),
        "deliveries": look.seen.as_ref().map(|seen| {
            let counted = (1..65).filter(|&number| seen.of(number).delivered > 0);
            counted.map(|number| (names::signal(number), json!(seen.of(number)))).collect::<serde_json::Map<_, _>>()
        }),
        "signals": history.map(|history| history.signals.values().collect::<Vec<_>>()),
        "findings": history.map(|history| findings(history, &Sampled::default())),
    })
}
