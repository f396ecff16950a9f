#!/usr/bin/env bash
# No lint speaks, in any target.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo clippy --workspace --all-targets --locked -- -D warnings
# The fuzz targets, a workspace of their own, still fit. (libfuzzer-sys needs nightly features only to be linked.)
RUSTC_BOOTSTRAP=1 cargo check --quiet --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz
