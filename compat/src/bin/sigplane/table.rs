//! `sigplane table`: one look at a process.

use crate::exhibit::{self, Seen};
use crate::failure::Result;
use crate::history::{History, Reader};
use crate::remote::{self, Remote};
use crate::status::{self, Status};
use crate::{names, report};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

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

/// Everything that is known of a process at one time.
pub struct Look {
    pub status: Status,
    pub threads: Vec<Status>,
    pub history: Option<History>,
    /// Subscriptions, where there is sigplane in the process.
    pub seen: Option<Seen>,
}

impl Look {
    /// Looks; `remote` as found once.
    pub fn at(pid: i32, remote: Option<&Remote>, reader: &mut Reader) -> Result<Self> {
        let status = status::of(pid)?;
        let journal = remote.map(Remote::read).transpose()?.flatten();
        let seen = remote.map(exhibit::look).transpose()?.flatten();
        let history = journal.map(|journal| reader.history(&journal));
        Ok(Self { status, threads: status::threads(pid), history, seen })
    }

    /// The signals that there is something to say about.
    pub fn signals(&self) -> Vec<i32> {
        let status = &self.status;
        let any = self.threads.iter().fold(
            status.caught | status.ignored | status.shared | status.pending,
            |bits, thread| bits | thread.pending,
        );
        let known = |number: &i32| {
            self.history.as_ref().is_some_and(|history| history.signals.contains_key(number))
                || self.seen.as_ref().is_some_and(|seen| seen.subscribers(*number).count() > 0)
        };
        (1..=64).filter(|number| any >> (number - 1) & 1 == 1 || known(number)).collect()
    }

    /// What the kernel does with a signal.
    pub fn kernel(&self, number: i32) -> &'static str {
        let has = |bits: u64| bits >> (number - 1) & 1 == 1;
        match (has(self.status.caught), has(self.status.ignored)) {
            (true, _) => "caught",
            (_, true) => "ignored",
            _ => "default",
        }
    }

    /// Who has a signal now: handler, who set it, when.
    pub fn owner(&self, number: i32) -> [String; 4] {
        let owner =
            self.history.as_ref().and_then(|history| history.signals.get(&number)?.present());
        match owner {
            Some(owner) => [
                owner.handler.brief(),
                format!("{} {}()", owner.installed_by.brief(), owner.call),
                names::seconds(owner.nanoseconds),
                owner.flags.clone(),
            ],
            None if self.history.is_some() && self.kernel(number) == "ignored" => {
                let inherited = "inherited".to_owned();
                ["ignored".to_owned(), inherited, "-".to_owned(), "-".to_owned()]
            }
            None => [const { String::new() }; 4],
        }
    }
}

impl Show {
    pub fn run(self) -> Result<i32> {
        let remote = if self.proc { None } else { Remote::find(self.pid)? };
        let look = Look::at(self.pid, remote.as_ref(), &mut Reader::default())?;
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
        let [handler, by, at, flags] = look.owner(number);
        table.add_row([names::signal(number), look.kernel(number).into(), handler, by, at, flags]);
    }
    println!("{table}");
    for signal in history.signals.values().filter(|signal| signal.owners.len() > 1) {
        let former = signal.owners.iter().enumerate().filter(|(at, _)| signal.current != Some(*at));
        for (_, owner) in former {
            println!(
                "{}: before, {} by {} at {}, {} times",
                signal.signal,
                owner.handler.brief(),
                owner.installed_by.brief(),
                names::seconds(owner.nanoseconds),
                owner.times
            );
        }
    }
    for finding in report::findings(history, &[]) {
        println!("{} {}: {}", finding.kind, finding.signal, finding.text);
    }
}

fn print_proc(look: &Look) {
    let mut table = sheet(&["signal", "kernel", "by default", "pending"]);
    for number in look.signals() {
        let pending = look.status.shared >> (number - 1) & 1 == 1;
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
        "findings": history.map(|history| report::findings(history, &[])),
    })
}
