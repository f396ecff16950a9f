#!/usr/bin/env bash
# The library with every feature on.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test -p sigplane --all-features --locked
