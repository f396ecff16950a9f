//! The configuration: a file of `name = value` lines, read whole or not at all.

use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// What the file may say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Config {
    /// What `/greet/NAME` begins with.
    pub greeting: String,
    /// The longest `/work?ms=…` that a client may ask for.
    pub longest_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { greeting: "Hello".to_owned(), longest_ms: 60_000 }
    }
}

impl Config {
    /// Reads a file. The error names it, and the line.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| text.parse()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            config.set(line).map_err(|error| format!("line {number}: {error}"))?;
        }
        Ok(config)
    }
}

impl Config {
    fn set(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.split_once('=').ok_or("expected `name = value`")?;
        match (name.trim(), value.trim()) {
            ("greeting", "") => return Err("the greeting is empty".to_owned()),
            ("greeting", value) => self.greeting = value.to_owned(),
            ("longest_ms", value) => {
                self.longest_ms = value.parse().map_err(|error| format!("{value:?}: {error}"))?;
            }
            (name, _) => return Err(format!("{name:?}? There are greeting and longest_ms")),
        }
        Ok(())
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greeting = {}, longest_ms = {}", self.greeting, self.longest_ms)
    }
}
