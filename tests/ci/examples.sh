#!/usr/bin/env bash
# The examples as users build them, and the tour as the README runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --workspace --examples --locked
cargo run --release --locked --example tour
