#!/usr/bin/env bash
# Random programs give the same observations with the shim and without it. For longer than a minute:
# SIGPLANE_DIFFERENTIAL_SECONDS=3600 tests/ci/differential.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test -p sigplane-differential --test differential --release --locked -- \
  --budget "${SIGPLANE_DIFFERENTIAL_SECONDS:-60}"
