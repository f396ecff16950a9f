//! Compiles the C parts of the tests: every file of `victims/`, into one static library.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=victims");
    let files = Path::new("victims").read_dir().expect("the folder is in the repository");
    let is_c = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "c");
    let mut sources: Vec<PathBuf> = files.flatten().map(|file| file.path()).filter(is_c).collect();
    sources.sort();
    cc::Build::new()
        .files(sources)
        // A handler that ends in a call is to end in a jump, in every profile.
        .opt_level(2)
        .flag("-fno-omit-frame-pointer")
        .warnings_into_errors(true)
        .compile("sigplane_test_victims");
}
