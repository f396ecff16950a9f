//! Addresses in words: which object, which function.

use crate::symbols::Symbols;
use serde::Serialize;
use sigplane_compat::journal::layout::{Journal, NONE, Object, PATH};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

/// An address of code.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Place {
    /// As the process has it.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// Path of the object that it is in.
    pub object: Option<PathBuf>,
    /// Of the address in that file, as its symbols count.
    pub offset: Option<u64>,
    /// The function.
    pub symbol: Option<String>,
    /// Distance from the function's start.
    pub distance: Option<u64>,
}

/// As addresses are written.
pub fn hexadecimal<S: serde::Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:#x}"))
}

impl Place {
    /// The object's file name: `libjvm.so`.
    pub fn object_name(&self) -> String {
        match self.object.as_ref().and_then(|path| path.file_name()) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => "code of no file".to_owned(),
        }
    }

    /// `handler+0x12`, or the offset in the object.
    pub fn function(&self) -> String {
        match (&self.symbol, self.distance, self.offset) {
            (Some(symbol), Some(0), _) => symbol.clone(),
            (Some(symbol), Some(distance), _) => format!("{symbol}+{distance:#x}"),
            (_, _, Some(offset)) => format!("+{offset:#x}"),
            _ => format!("{:#x}", self.address),
        }
    }

    /// Both, as a table shows them.
    pub fn brief(&self) -> String {
        format!("{} {}", self.object_name(), self.function())
    }
}

/// What an action does.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Handler {
    Default,
    Ignored,
    Function(Place),
}

impl Handler {
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Function(place) => Some(place),
            _ => None,
        }
    }

    pub fn brief(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::Ignored => "ignored".to_owned(),
            Self::Function(place) => place.brief(),
        }
    }
}

/// The objects that a journal names.
pub struct Objects {
    pub executable: PathBuf,
    /// When the journal began.
    pub started: u64,
    list: Vec<Option<(PathBuf, u64)>>,
}

impl Objects {
    pub fn of(journal: &Journal) -> Self {
        let executable = path(&journal.executable);
        let list = journal.objects.iter().map(|object: &Object| {
            if object.state.load(Acquire) != 2 {
                return None;
            }
            let path = path(&object.path);
            let path = if path.as_os_str().is_empty() { executable.clone() } else { path };
            Some((path, object.bias.load(Relaxed)))
        });
        Self { list: list.collect(), started: journal.started.load(Relaxed), executable }
    }

    /// What an action's handler is; `object` is an index, or [`NONE`].
    pub fn handler(&self, symbols: &mut Symbols, address: u64, object: u32) -> Handler {
        match address {
            0 => Handler::Default,
            1 => Handler::Ignored,
            _ => Handler::Function(self.place(symbols, address, object)),
        }
    }

    /// Where an address is.
    pub fn place(&self, symbols: &mut Symbols, address: u64, object: u32) -> Place {
        let known = if object == NONE { None } else { self.list.get(object as usize) };
        let Some(Some((path, bias))) = known else {
            return Place { address, object: None, offset: None, symbol: None, distance: None };
        };
        let offset = address.wrapping_sub(*bias);
        let (symbol, distance) = symbols.function(path, offset).unzip();
        Place { address, object: Some(path.clone()), offset: Some(offset), symbol, distance }
    }
}

fn path(bytes: &[AtomicU8; PATH]) -> PathBuf {
    let bytes: Vec<u8> =
        bytes.iter().map(|byte| byte.load(Relaxed)).take_while(|&byte| byte != 0).collect();
    PathBuf::from(OsStr::from_bytes(&bytes))
}
