//! Which children the process has, by /proc: those that live and those that have ended and are not reaped.
//!
//! Not here: what has become of each. waitid(2) with `P_ALL` cannot list them: with `WNOWAIT` it names the
//! same one again and again, and without it reaps.
//!
//! # The kernel's lists
//! `/proc/self/task/<tid>/children` (`CONFIG_PROC_CHILDREN`) has the children that the thread has made or
//! inherited from a thread that has ended. Two things can make a reading miss a child, and both leave a
//! trace, upon which the reading counts as incomplete and is to be taken again:
//!
//! * The kernel goes on from the last child it has printed, or, when that one has been reaped meanwhile,
//!   skips as many as it has printed (proc_pid_children(5); fs/proc/array.c, `get_children_pid`). So it
//!   misses one only if one that it has printed has been reaped: the caller asks about each afterwards.
//!   The directory of threads is read in the same way (fs/proc/base.c, `first_tid`).
//! * The children of a thread that ends go over to another thread, whose list may have been read before
//!   (kernel/exit.c, `forget_original_parent`). That happens in the same critical section in which the
//!   thread becomes a zombie or dead (`exit_notify`), so its state, read after its list, tells.
//!
//! # Without them
//! The parent is in `/proc/<pid>/stat` of every process. That takes a reading of all processes of the
//! system, which is slower, and misses nothing: processes are listed by ascending id (`next_tgid`).

use std::collections::HashSet;
use std::fs;
use std::io;

/// The children at one time.
pub(super) struct Listing {
    pub(super) children: Vec<i32>,
    /// Whether none can be missing, if none of these is reaped by now.
    pub(super) complete: bool,
}

/// The way of listing children, and what it has to remember.
pub(super) enum Sweep {
    /// By the lists of threads. A thread that had ended before the reading began has passed its children
    /// on before, too: the first thread of a process, when it ends, stays as a zombie to the end.
    Lists { ended: HashSet<i32> },
    /// By the parent of every process.
    Parents,
}

impl Sweep {
    /// By what this kernel has.
    ///
    /// # Errors
    /// When there is no /proc here, or not that of this process's pid namespace.
    pub(super) fn new() -> io::Result<Self> {
        let this = format!("/proc/self/task/{}/children", std::process::id());
        if fs::exists(this)? {
            return Ok(Self::Lists { ended: HashSet::new() });
        }
        fs::metadata("/proc/self/stat")?;
        Ok(Self::Parents)
    }

    pub(super) fn list(&mut self) -> io::Result<Listing> {
        match self {
            Self::Lists { ended } => by_lists(ended),
            Self::Parents => Ok(Listing { children: by_parents()?, complete: true }),
        }
    }
}

fn by_lists(ended: &mut HashSet<i32>) -> io::Result<Listing> {
    let threads = numbers_in("/proc/self/task")?;
    let mut listing = Listing { children: Vec::new(), complete: true };
    for tid in &threads {
        match fs::read_to_string(format!("/proc/self/task/{tid}/children")) {
            Ok(list) => {
                let pids = list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
                listing.children.extend(pids);
            }
            Err(error) if is_gone(&error) => listing.complete = false,
            Err(error) => return Err(error),
        }
    }
    for tid in threads {
        match fs::read_to_string(format!("/proc/self/task/{tid}/stat")) {
            Ok(stat) => {
                let has_ended =
                    fields(&stat).next().is_some_and(|state| matches!(state, "Z" | "X"));
                if has_ended && ended.insert(tid) {
                    listing.complete = false;
                } else if !has_ended {
                    ended.remove(&tid);
                }
            }
            Err(error) if is_gone(&error) => {
                ended.remove(&tid);
                listing.complete = false;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(listing)
}

fn by_parents() -> io::Result<Vec<i32>> {
    let this = std::process::id().to_string();
    let mut children = numbers_in("/proc")?;
    children.retain(|pid| {
        // What cannot be read has gone, or is hidden (proc(5), hidepid).
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        fields(&stat).nth(1) == Some(&*this)
    });
    Ok(children)
}

/// The fields of a stat file after the name, which is in parentheses and may contain some: the state,
/// the parent's id, … (proc_pid_stat(5)).
fn fields(stat: &str) -> std::str::SplitAsciiWhitespace<'_> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

fn numbers_in(directory: &str) -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_children() {
        let sleeps = |_| std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut children: Vec<_> = (0..3).map(sleeps).collect();
        let expected: HashSet<i32> = children.iter().map(|child| child.id() as i32).collect();
        for mut sweep in [Sweep::new().unwrap(), Sweep::Parents] {
            let listing = sweep.list().unwrap();
            assert!(expected.is_subset(&listing.children.into_iter().collect()));
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn a_name_may_contain_what_separates_fields() {
        let fields: Vec<_> = fields("12 (a) S 1 (b)) Z 34 5").take(2).collect();
        assert_eq!(fields, ["Z", "34"]);
    }
}
