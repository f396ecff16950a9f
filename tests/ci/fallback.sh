#!/usr/bin/env bash
# The paths that this machine does not take by itself: a fence instead of membarrier(2), and queues
# without spare places.
set -euo pipefail
cd "$(dirname "$0")/../.."
export RUSTFLAGS="${RUSTFLAGS:-} --cfg sigplane_no_membarrier --cfg sigplane_small"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/fallback"
cargo test -p sigplane-tests-variants --locked --test removal --test queues
