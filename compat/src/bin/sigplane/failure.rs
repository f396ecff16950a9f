//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The command's errors.
#[derive(Debug)]
pub enum Failure {
    /// No process has this id.
    NoProcess(i32),
    /// The kernel does not let us look into it.
    NotPermitted { pid: i32, source: io::Error },
    /// The journal there is of another build.
    OtherVersion { pid: i32, version: u32 },
    /// Nothing was found at any of these places.
    NoLibrary(Vec<PathBuf>),
    /// The loader would take the path for several.
    PathNotUsable(PathBuf),
    /// Something that the system should do and did not.
    System { what: &'static str, source: io::Error },
    /// A file that was asked for cannot be written.
    Output { path: PathBuf, source: io::Error },
    /// `top` draws on a terminal.
    NoTerminal,
}

/// What most functions give.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The last error of a system call.
    pub fn last(what: &'static str) -> Self {
        Self::System { what, source: io::Error::last_os_error() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => write!(f, "there is no process {pid}"),
            Self::NotPermitted { pid, source } => write!(
                f,
                "process {pid} is under the shim, but its memory may not be read ({source})\n  \
                 what to do: run this as the same user, or with CAP_SYS_PTRACE; where \
                 kernel.yama.ptrace_scope is 1, as root; or use `sigplane run --report`, which needs \
                 no permission\n  what can be seen without: `sigplane table --proc {pid}`, `sigplane top --proc {pid}`"
            ),
            Self::OtherVersion { pid, version } => write!(
                f,
                "the library in process {pid} is of another build (its journal has version {version}, this \
                 command reads version {})\n  what to do: use the `sigplane` that was installed with that \
                 library",
                sigplane_compat::journal::layout::VERSION
            ),
            Self::NoLibrary(places) => {
                write!(f, "libsigplane_compat.so was not found\n  looked for:")?;
                for place in places {
                    write!(f, "\n    {}", place.display())?;
                }
                write!(f, "\n  what to do: set SIGPLANE_LIBRARY to its path")
            }
            Self::PathNotUsable(path) => write!(
                f,
                "the library's path {:?} has a space or a colon in it, which LD_PRELOAD cannot carry\n  \
                 what to do: set SIGPLANE_LIBRARY to a link to it without them",
                path
            ),
            Self::System { what, source } => write!(f, "{what}: {source}"),
            Self::Output { path, source } => write!(f, "{}: {source}", path.display()),
            Self::NoTerminal => write!(
                f,
                "top draws on a terminal, and standard output is none\n  what to do: use `sigplane table`"
            ),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotPermitted { source, .. }
            | Self::System { source, .. }
            | Self::Output { source, .. } => Some(source),
            _ => None,
        }
    }
}
