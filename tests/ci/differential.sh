#!/usr/bin/env bash
# Random programs give the same observations with the shim and without it. For longer than 40 s:
# SIGPLANE_DIFFERENTIAL_SECONDS=3600 SIGPLANE_DIFFERENTIAL_SEED=0 tests/ci/differential.sh
# The seed is that of the first program (0: from the clock); here it is always the same, so that a run can be
# repeated.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test -p sigplane-differential --test differential --locked -- --only \
  --budget "${SIGPLANE_DIFFERENTIAL_SECONDS:-40}" --seed "${SIGPLANE_DIFFERENTIAL_SEED:-100000}"
