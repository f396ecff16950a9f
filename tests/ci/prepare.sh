#!/usr/bin/env bash
# Installs what the tests look for, when it is missing and this user may install: a C compiler, which
# they need, and strace, without which some tests are skipped (visibly).
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
command -v cc >/dev/null || missing+=(cc)
command -v strace >/dev/null || missing+=(strace)

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" = 0 ]; then
    as_root=()
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    as_root=(false)
    echo "neither root nor sudo: ${missing[*]} cannot be installed"
  fi
  # Each package manager's name for what is missing.
  packages() { for tool in "${missing[@]}"; do if [ "$tool" = cc ]; then echo "$1"; else echo "$tool"; fi; done; }
  installed=true
  if [ "${as_root[*]:-}" = false ]; then
    installed=false
  elif command -v apt-get >/dev/null; then
    mapfile -t wanted < <(packages build-essential)
    { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${wanted[@]}"; } || installed=false
  elif command -v dnf >/dev/null; then
    mapfile -t wanted < <(packages gcc)
    "${as_root[@]}" dnf install -y -q "${wanted[@]}" || installed=false
  elif command -v zypper >/dev/null; then
    mapfile -t wanted < <(packages gcc)
    "${as_root[@]}" zypper --non-interactive --quiet install "${wanted[@]}" || installed=false
  elif command -v pacman >/dev/null; then
    mapfile -t wanted < <(packages gcc)
    "${as_root[@]}" pacman -S --noconfirm --needed "${wanted[@]}" || installed=false
  elif command -v apk >/dev/null; then
    mapfile -t wanted < <(packages build-base)
    "${as_root[@]}" apk add "${wanted[@]}" || installed=false
  else
    installed=false
  fi
  "$installed" || echo "not installed: ${missing[*]}"
fi

command -v cc >/dev/null || { echo "a C compiler (cc) is needed" >&2; exit 1; }
command -v cargo >/dev/null || { echo "a Rust toolchain is needed: https://rustup.rs" >&2; exit 1; }
for component in fmt clippy; do
  if ! cargo "$component" --version >/dev/null 2>&1; then
    rustup component add "${component/fmt/rustfmt}"
  fi
done
cargo --version
rustc --version
cc --version | head -n 1
if command -v strace >/dev/null; then strace --version | head -n 1; else echo "no strace"; fi
