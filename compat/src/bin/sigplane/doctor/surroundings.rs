//! What a program that is started from here finds: dispositions, the library, other preloaded ones.

use super::{Finding, Verdict, finding};
use crate::failure::Failure;
use crate::{library, names};

/// What every program that is started from here inherits.
pub fn inherited() -> Finding {
    let what = "inherited";
    let Ok(status) = crate::status::of(std::process::id() as i32) else {
        return finding(Verdict::Note, what, "unknown", "");
    };
    if status.ignored == 0 && status.blocked == 0 {
        return finding(Verdict::Good, what, "no signal ignored or blocked", "");
    }
    let found = format!(
        "ignored: {}; blocked: {}",
        names::mask(status.ignored),
        names::mask(status.blocked)
    );
    let follows =
        "programs started from here begin like that (nohup, a job in the background, a service)";
    finding(Verdict::Note, what, found, follows)
}

pub fn shim() -> Finding {
    match library::find() {
        Ok(path) => finding(Verdict::Good, "library", path.display().to_string(), ""),
        Err(failure @ Failure::PathNotUsable(_)) => {
            finding(Verdict::Bad, "library", "found", failure.to_string().replace('\n', " "))
        }
        Err(failure) => {
            let text = failure.to_string();
            let follows = format!("`sigplane run` cannot be used: {}", text.replace('\n', " "));
            finding(Verdict::Fatal, "library", "not found", follows)
        }
    }
}

pub fn own_preload() -> Finding {
    match std::env::var("LD_PRELOAD") {
        Ok(list) if list.contains("libjsig") => finding(
            Verdict::Note,
            "LD_PRELOAD",
            list,
            "libjsig.so wraps the same functions; with sigplane it is not needed",
        ),
        Ok(list) if !list.is_empty() => {
            finding(Verdict::Note, "LD_PRELOAD", list, "`run` puts the shim in front of these")
        }
        _ => finding(Verdict::Good, "LD_PRELOAD", "empty", ""),
    }
}
