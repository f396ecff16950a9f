#!/usr/bin/env bash
# No lint speaks, in any target.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo clippy --workspace --all-targets --locked -- -D warnings
