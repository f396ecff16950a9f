#!/usr/bin/env bash
# Every row of the benchmarks can be measured. The figures of this run mean little.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo bench -p sigplane-tests --locked -- --quick
