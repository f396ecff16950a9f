#!/bin/sh
# The unit tests of core, and the tests of queues and removal with fewer rounds, under the address
# sanitizer. Signals, alternate stacks and edited machine contexts are what it must put up with; the
# leak check is left to the tests that count.
set -eu
cd "$(dirname "$0")/../.."
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=0
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan" SIGPLANE_TEST_SCALE=20
target=x86_64-unknown-linux-gnu
cargo test --quiet --locked --target $target -p sigplane --lib
cargo test --quiet --locked --target $target -p sigplane-tests-variants --test queues --test backpressure --test removal
