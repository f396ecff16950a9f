#!/usr/bin/env bash
# Licences and sources of the dependencies, as deny.toml says. Exit status 77: cannot run here.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v cargo-deny >/dev/null; then
  echo "cargo-deny is not installed"
  exit 77
fi
cargo deny --all-features check licenses bans sources
