//! `sigplane doctor`: what the system is like, and what follows.
//!
//! # Safety
//! System calls that only ask; the structures they fill are of the size they are told.

mod limits;
mod surroundings;
mod system;

use crate::failure::Result;
use clap::Args;
use limits::{core_dumps, queue_limit, stacks, static_tls};
use serde_json::json;
use surroundings::{inherited, own_preload, shim};
use system::{
    find_object, kernel, libc_version, membarrier, pidfd, protection_keys, ptrace_scope,
    shadow_stacks,
};

/// Check kernel, libc, limits and stacks; say what follows for programs under sigplane.
///
/// Each line says what was found and, where it matters, what it means and what to do.
///
/// Exit status: 0 if all is well, 1 if something will not work or not well, 2 if sigplane cannot be used.
#[derive(Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Good,
    Note,
    Bad,
    Fatal,
}

struct Finding {
    verdict: Verdict,
    what: &'static str,
    found: String,
    follows: String,
}

fn finding(
    verdict: Verdict,
    what: &'static str,
    found: impl Into<String>,
    follows: impl Into<String>,
) -> Finding {
    Finding { verdict, what, found: found.into(), follows: follows.into() }
}

impl Doctor {
    pub fn run(self) -> Result<i32> {
        let findings: Vec<Finding> = [
            vec![kernel(), libc_version(), find_object()],
            vec![membarrier(), pidfd(), queue_limit()],
            stacks(),
            vec![static_tls(), ptrace_scope(), shadow_stacks(), protection_keys(), core_dumps()],
            vec![inherited(), shim(), own_preload()],
        ]
        .into_iter()
        .flatten()
        .collect();
        let worst = findings.iter().map(|finding| finding.verdict).max();
        if self.json {
            let list = findings.iter().map(|finding| {
                json!({
                    "check": finding.what, "verdict": word(finding.verdict), "found": finding.found,
                    "follows": finding.follows,
                })
            });
            println!("{:#}", json!({ "version": 1, "checks": list.collect::<Vec<_>>() }));
        } else {
            for finding in &findings {
                println!("{:<5} {:<22} {}", word(finding.verdict), finding.what, finding.found);
                if !finding.follows.is_empty() {
                    println!("{:28} → {}", "", finding.follows);
                }
            }
        }
        Ok(match worst {
            Some(Verdict::Fatal) => 2,
            Some(Verdict::Bad) => 1,
            _ => 0,
        })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Note => "note",
        Verdict::Bad => "bad",
        Verdict::Fatal => "FATAL",
    }
}
