//! The keyboard, which is waited for beside signals.
//!
//! # Safety
//! System calls on structures and buffers of their own.
#![allow(unsafe_code)]

use sigplane::Inbox;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Waits for a key, for something in one of these inboxes, or for the time.
pub fn wait(inboxes: [&Inbox; 2], time: Duration) -> io::Result<()> {
    let of = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let [one, other] = inboxes.map(|inbox| of(inbox.as_raw_fd()));
    let mut fds = [of(libc::STDIN_FILENO), one, other];
    let time = i32::try_from(time.as_millis() + 1).unwrap_or(i32::MAX);
    // SAFETY: three structures.
    if unsafe { libc::poll(fds.as_mut_ptr(), 3, time) } < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
    }
    Ok(())
}

/// What a key asks for.
pub enum Key {
    Quit,
    Stop,
    Up,
    Down,
}

/// The keys that were pressed since, without waiting. In raw mode ^C and ^Z are keys.
pub fn keys() -> Vec<Key> {
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
