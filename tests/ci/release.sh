#!/usr/bin/env bash
# The shim as users build it: what optimisation changes (which frames can be unwound, how much stack is used)
# shows in these tests, and not in those of a debug build.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test --release --locked -p sigplane-tests-shim --test entry_stack --test hostile --test posix \
  --test preload --test sandbox --test vfork_storm --test waits
