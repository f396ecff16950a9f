//! Everything that is known of a process at one time, for `table` and `top`.

use crate::exhibit::{self, Seen};
use crate::failure::Result;
use crate::history::{History, OwnerView, Reader};
use crate::names;
use crate::remote::Remote;
use crate::status::{self, Status};
use sigplane_compat::journal::FAULTS;

/// See the module.
pub struct Look {
    pub status: Status,
    pub threads: Vec<Status>,
    pub history: Option<History>,
    /// Subscriptions, where there is sigplane in the process.
    pub seen: Option<Seen>,
}

/// Handler; who set it; when; with which flags.
pub type Owner = [String; 4];

impl Look {
    /// Looks; `remote` as found once.
    pub fn at(pid: i32, remote: Option<&Remote>, reader: &mut Reader) -> Result<Self> {
        let status = status::of(pid)?;
        let journal = remote.map(Remote::read).transpose()?.flatten();
        let mut seen = remote.map(exhibit::look).transpose()?.flatten();
        for one in seen.iter_mut().flat_map(|seen| &mut seen.subscribers) {
            one.name = reader.callback(pid, &one.name).unwrap_or_else(|| one.name.clone());
        }
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

    /// Who has a signal now, in the order in which they are entered, with the subscribers in brackets before the
    /// first; empty texts for a process of which only /proc tells.
    pub fn owners(&self, number: i32) -> Vec<Owner> {
        let history = self.history.as_ref();
        let signal = history.and_then(|history| history.signals.get(&number));
        let owner = |owner: &OwnerView| {
            [
                owner.handler.brief(),
                format!("{} {}()", owner.installed_by.brief(), owner.call),
                names::seconds(owner.nanoseconds),
                owner.flags.clone(),
            ]
        };
        let mut owners: Vec<_> =
            signal.into_iter().flat_map(|signal| signal.in_effect()).map(owner).collect();
        if owners.is_empty() {
            owners.push(self.nobody(number));
        }
        let names = self.subscribers(number).map(|name| format!("[{name}] "));
        owners[0][0].insert_str(0, &names.collect::<String>());
        owners
    }

    fn subscribers(&self, number: i32) -> impl Iterator<Item = &str> {
        self.seen.iter().flat_map(move |seen| seen.subscribers(number)).map(|one| &*one.name)
    }

    /// What is said of a signal that nobody has set.
    fn nobody(&self, number: i32) -> Owner {
        if self.history.is_none() {
            return [const { String::new() }; 4];
        }
        // Sigplane takes the signals of faults together, and one for its doorbell.
        let own = FAULTS | 1 << (libc::SIGURG - 1);
        let who = match self.kernel(number) {
            "default" => "default",
            "ignored" => "ignored, inherited",
            _ if sigplane::Signal::try_from(number).is_err() => "libc's own",
            _ if self.subscribers(number).next().is_some() => "default",
            _ if self.seen.is_some() && own >> (number - 1) & 1 == 1 => "[sigplane] default",
            _ => "unknown: set by a system call of its own",
        };
        [who, "-", "-", "-"].map(str::to_owned)
    }
}
