#!/usr/bin/env bash
# compat/registry in place of the published signal-hook-registry: its own tests, and then the published tests
# of the crates that register through it, as cargo fetches them, with the patch that users write. Of ctrlc,
# which does not, also under the shim. The lock files say which versions: that in tests/ci/registry for the
# published tests, that of the workspace for our own. Exit status 77: the crates cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
repository=$PWD
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/registry"
target=$(cd "$target" && pwd)
scratch=$target/registry
unset LD_PRELOAD SIGPLANE_OWN

# Two copies of the workspace: in `fetch` the crates are looked up as they are, in `run` they are tested.
for copy in fetch run; do
  rm -rf "${scratch:?}/$copy"
  cp -R tests/ci/registry "$scratch/$copy"
done
mkdir "$scratch/run/sources"
cd "$scratch/fetch"
if ! cargo fetch --quiet || ! packages=$(cargo metadata --offline --format-version 1); then
  echo "the published crates cannot be fetched"
  exit 77
fi
while read -r crate version; do
  manifest=$(grep -o "\"manifest_path\":\"[^\"]*/$crate-$version/Cargo.toml\"" <<<"$packages" | head -n 1)
  [ -n "$manifest" ] || { echo "$crate $version is not among the fetched crates"; exit 1; }
  manifest=${manifest#\"manifest_path\":\"}
  cp -R "${manifest%/Cargo.toml\"}" "$scratch/run/sources/$crate"
  echo "published: $crate $version"
done < <(sed -nE 's/^([a-z-]+) = .*"=([0-9.]+)".*/\1 \2/p' Cargo.toml)

export CARGO_TARGET_DIR=$scratch
patch=(--config "patch.crates-io.signal-hook-registry.path='$repository/compat/registry'")
cd "$scratch/run"
# In the build of all of them there is one registry, and it is ours.
instances=$(cargo "${patch[@]}" tree --quiet --workspace --target all --edges normal,build,dev --prefix none \
  --format '{p}' | grep '^signal-hook-registry ' | sed 's/ (\*)$//' | sort -u)
echo "in the build: $instances"
[ "$instances" = "signal-hook-registry v1.4.8 ($repository/compat/registry)" ]
cargo "${patch[@]}" test --quiet --workspace --exclude serial_test --lib --tests | tee "$scratch/published.log"
if grep -q 'running 0 tests' "$scratch/published.log"; then
  echo "a file of published tests has none for this system: its features are not those that it asks for"
  exit 1
fi

# ctrlc calls sigaction(2) itself, so its users come to sigplane by the shim.
cd "$repository"
CARGO_TARGET_DIR=$target cargo build --quiet --locked --package sigplane-shim
shim=$(find "$target/debug/libsigplane_compat.so" "$target/debug/deps/libsigplane_compat.so" 2>/dev/null | head -n 1)
cd "$scratch/run"
for own in 0 1; do
  echo "ctrlc under the shim, SIGPLANE_OWN=$own"
  runner=(--config "target.'cfg(unix)'.runner=['env', 'LD_PRELOAD=$shim', 'SIGPLANE_OWN=$own']")
  cargo "${patch[@]}" "${runner[@]}" test --quiet --package published-ctrlc --test main
done

cd "$repository/compat/registry"
cp "$repository/Cargo.lock" Cargo.lock
cargo fmt --check
cargo test --quiet
cargo clippy --quiet --all-targets -- -D warnings
