//! `tokio::signal::unix` as it is called: kinds of signals, and listeners.

use crate::stream::{BuilderExt, SignalStream};
use sigplane::{Error, Overflow};
use std::io;
use std::os::raw::c_int;
use std::task::{Context, Poll};

/// Which signal to listen to. Any number can be made into one; [`signal`] checks it.
///
/// # Examples
/// ```
/// use sigplane_async::tokio_like::unix::SignalKind;
/// assert_eq!(SignalKind::terminate().as_raw_value(), 15);
/// assert_eq!(SignalKind::from(15), SignalKind::terminate());
/// assert_eq!(sigplane::Signal::try_from(i32::from(SignalKind::hangup())), Ok(sigplane::Signal::HUP));
/// ```
#[derive(Debug, Clone, Copy, Hash, PartialEq, Eq)]
pub struct SignalKind(c_int);

macro_rules! kinds {
    ($($name:ident = $number:ident, $when:literal;)*) => {$(
        #[doc = concat!("`", stringify!($number), "`: ", $when, ".")]
        pub const fn $name() -> Self {
            Self(libc::$number)
        }
    )*};
}

impl SignalKind {
    /// The signal of this number, which may be one that does not exist.
    pub const fn from_raw(signum: c_int) -> Self {
        Self(signum)
    }

    /// Its number.
    pub const fn as_raw_value(&self) -> c_int {
        self.0
    }

    kinds! {
        alarm = SIGALRM, "the timer of `alarm` expired; kills by default";
        child = SIGCHLD, "a child ended, stopped or continued; ignored by default";
        hangup = SIGHUP, "the terminal is gone, or a service shall reload; kills by default";
        interrupt = SIGINT, "Ctrl-C at the terminal; kills by default";
        io = SIGIO, "input or output is possible on a descriptor that asked for it; kills by default";
        pipe = SIGPIPE, "a write to a pipe without readers; kills by default, but Rust programs start with it ignored";
        quit = SIGQUIT, "Ctrl-\\ at the terminal; kills with a core dump by default";
        terminate = SIGTERM, "a request to terminate; kills by default";
        user_defined1 = SIGUSR1, "whatever the program means by it; kills by default";
        user_defined2 = SIGUSR2, "whatever the program means by it; kills by default";
        window_change = SIGWINCH, "the terminal has another size; ignored by default";
    }
}

impl From<c_int> for SignalKind {
    fn from(signum: c_int) -> Self {
        Self::from_raw(signum)
    }
}

impl From<SignalKind> for c_int {
    fn from(kind: SignalKind) -> Self {
        kind.as_raw_value()
    }
}

/// Makes a listener, which is told of every signal of this kind from now on. There may be any number of
/// them. While there is one, the signal's default action is not taken.
///
/// # Errors
/// Of kind `Other`, as in tokio: the number is no signal's, SIGKILL, SIGSTOP, and the signals of faults
/// (SIGILL, SIGFPE and SIGSEGV, as in tokio, and also SIGBUS, SIGTRAP and SIGSYS). Of kind
/// `InvalidInput`: a number that libc reserves. `Unsupported`: in a `vfork` child. Otherwise what the
/// system says.
///
/// # Panics
/// In a runtime without an I/O driver, as tokio's, and when the process is out of descriptors. Outside of
/// any runtime, where tokio's panics, it makes a listener that joins the runtime which first polls it.
///
/// # Examples
/// See [`Signal`].
#[track_caller]
pub fn signal(kind: SignalKind) -> io::Result<Signal> {
    listen(kind, "")
}

/// [`signal`], under a name. The empty one stands for the caller's place in the source.
#[track_caller]
pub(super) fn listen(kind: SignalKind, name: &'static str) -> io::Result<Signal> {
    let signal = sigplane::Signal::try_from(kind.0).map_err(into_io)?;
    let stream = sigplane::subscribe(signal).name(name).overflow(Overflow::Coalesce).stream();
    stream.map(|inner| Signal { inner }).map_err(into_io)
}

/// What tokio refuses has the kind that it has there. The rest is as everywhere in sigplane.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::OutOfRange(_) | Error::Uncatchable(_) | Error::NeedsImmediate(_) => {
            io::Error::other(error)
        }
        error => error.into(),
    }
}

/// A listener for one kind of signal; see [`signal`]. Dropping the last one gives the signal back.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// // was: use tokio::signal::unix::{SignalKind, signal};
/// use sigplane_async::tokio_like::unix::{SignalKind, signal};
///
/// let mut hangups = signal(SignalKind::hangup())?;
/// # sigplane::send::raise(sigplane::Signal::HUP).unwrap();
/// # let mut turns = 1;
/// loop {
///     hangups.recv().await;
///     println!("reload");
/// #   turns -= 1;
/// #   if turns == 0 { break }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it stops listening, and may give the signal back"]
#[derive(Debug)]
pub struct Signal {
    inner: SignalStream,
}

impl Signal {
    /// Waits for the next notification: one for all signals that have come since the last.
    ///
    /// It is never `None`; the type is tokio's.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken nothing.
    ///
    /// # Panics
    /// As [`poll_recv`](Self::poll_recv).
    pub async fn recv(&mut self) -> Option<()> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`recv`](Self::recv) for futures written by hand. The task of the last call is the one woken.
    ///
    /// # Panics
    /// When it has to wait and nobody would wake it: those of
    /// [`SignalStream::poll_recv`](crate::SignalStream::poll_recv).
    ///
    /// # Examples
    /// ```
    /// use sigplane_async::tokio_like::unix::{Signal, SignalKind, signal};
    /// use std::pin::Pin;
    /// use std::task::{Context, Poll};
    ///
    /// struct Resized(Signal);
    ///
    /// impl Future for Resized {
    ///     type Output = ();
    ///     fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
    ///         self.0.poll_recv(cx).map(drop)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let resized = Resized(signal(SignalKind::window_change())?);
    /// # sigplane::send::raise(sigplane::Signal::WINCH).unwrap();
    /// resized.await;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        self.inner.poll_recv(cx).map(|_event| Some(()))
    }
}
