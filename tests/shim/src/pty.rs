//! A terminal whose keyboard and screen are in the test's hands.

use crate::Mode;
use crate::program::end_of;
use sigplane_tests::{DEADLINE, Exit};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::time::Instant;

/// A program that has a terminal of its own as its controlling terminal. Killed when dropped.
pub struct Terminal {
    keyboard_and_screen: File,
    child: Child,
    /// What the screen has shown since the last wait.
    shown: String,
}

impl Terminal {
    /// Starts the command as the leader of a session, in this mode.
    pub fn start(mode: Mode, mut command: Command) -> Self {
        mode.apply(&mut command);
        Self::start_as_it_is(command)
    }

    /// Starts it with the environment that the command has.
    pub fn start_as_it_is(mut command: Command) -> Self {
        let (mut master, mut slave) = (0, 0);
        let (name, settings, size) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: two valid places for descriptors; the rest is left to the system.
        let result = unsafe { libc::openpty(&mut master, &mut slave, name, settings, size) };
        assert!(result == 0, "openpty: {}", std::io::Error::last_os_error());
        // SAFETY: just opened, and nobody else's.
        let master = unsafe { File::from_raw_fd(master) };
        // SAFETY: just opened, and nobody else's.
        let slave = unsafe { File::from_raw_fd(slave) };
        for end in [&master, &slave] {
            // SAFETY: no memory is passed.
            unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        let own = || slave.try_clone().expect("a descriptor");
        command.stdin(own()).stdout(own()).stderr(own());
        let lead = || {
            // SAFETY: no memory is passed.
            unsafe { libc::setsid() };
            // SAFETY: no memory is passed; descriptor 0 is the terminal.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
            Ok(())
        };
        // SAFETY: two system calls.
        unsafe { command.pre_exec(lead) };
        let child = command.spawn().expect("the program starts");
        Self { keyboard_and_screen: master, child, shown: String::new() }
    }

    /// Types the text.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard_and_screen.write_all(text.as_bytes()).expect("the terminal is open");
    }

    /// Waits until the screen shows `marker`; all that it has shown before, without it.
    pub fn wait_for(&mut self, marker: &str) -> String {
        loop {
            if let Some(at) = self.shown.find(marker) {
                let rest = self.shown.split_off(at + marker.len());
                let before = std::mem::replace(&mut self.shown, rest);
                return before[..at].to_owned();
            }
            assert!(self.read(), "the end, and no {marker:?} in {:?}", self.shown);
        }
    }

    /// The rest of what it shows, and how it ended.
    pub fn finish(mut self) -> (String, Exit) {
        while self.read() {}
        let exit = end_of(&mut self.child);
        (std::mem::take(&mut self.shown), exit)
    }

    /// The group in the foreground.
    pub fn foreground(&self) -> i32 {
        // SAFETY: no memory is passed.
        unsafe { libc::tcgetpgrp(self.keyboard_and_screen.as_raw_fd()) }
    }

    /// The program's process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Whether there was more; the terminal ends with an error when nobody has it open any more.
    fn read(&mut self) -> bool {
        let end = Instant::now() + DEADLINE;
        let mut poll = libc::pollfd {
            fd: self.keyboard_and_screen.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        loop {
            // SAFETY: one valid entry.
            let ready = unsafe { libc::poll(&mut poll, 1, DEADLINE.as_millis() as i32) };
            if ready > 0 {
                break;
            }
            assert!(Instant::now() < end, "nothing after {:?} in {DEADLINE:?}", self.shown);
        }
        let mut bytes = [0; 4096];
        let Ok(count @ 1..) = self.keyboard_and_screen.read(&mut bytes) else { return false };
        self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]).replace('\r', ""));
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
