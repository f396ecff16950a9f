//! Where `libsigplane_compat.so` is.

use crate::failure::{Failure, Result};
use std::path::PathBuf;

/// Its file name.
pub const NAME: &str = "libsigplane_compat.so";

/// The first place where it is: `SIGPLANE_LIBRARY` alone if that is set, else beside this executable,
/// in `../lib` of it, and in `deps` beside it, where a build puts it.
pub fn find() -> Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(path) = std::env::var_os("SIGPLANE_LIBRARY") {
        places.push(PathBuf::from(path));
    } else if let Ok(executable) = std::env::current_exe()
        && let Some(folder) = executable.parent()
    {
        places.push(folder.join(NAME));
        places.extend(folder.parent().map(|above| above.join("lib").join(NAME)));
        places.push(folder.join("deps").join(NAME));
    }
    let Some(found) = places.iter().find(|place| place.is_file()) else {
        return Err(Failure::NoLibrary(places));
    };
    let path = std::path::absolute(found).unwrap_or_else(|_| found.clone());
    if path.to_string_lossy().contains([' ', ':', '\t', '\n']) {
        return Err(Failure::PathNotUsable(path));
    }
    Ok(path)
}
