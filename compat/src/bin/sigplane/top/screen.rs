//! The terminal: taken, and given back.

use crate::failure::{Failure, Result};
use ratatui::crossterm::{execute, terminal};
use ratatui::{Terminal, backend::CrosstermBackend};
use std::io::{self, Stdout};

/// The terminal, taken; given back when dropped.
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub fn take() -> Result<Self> {
        let failed = |source| Failure::System { what: "the terminal", source };
        terminal::enable_raw_mode().map_err(failed)?;
        // From here on `give_back` is owed.
        let drawn = execute!(io::stdout(), terminal::EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match drawn {
            Ok(terminal) => Ok(Self { terminal }),
            Err(source) => {
                give_back();
                Err(failed(source))
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Puts it back as it was.
pub fn give_back() {
    let _shown =
        execute!(io::stdout(), terminal::LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
    let _mode = terminal::disable_raw_mode();
}
