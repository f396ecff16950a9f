#!/usr/bin/env bash
# Installs what the tests look for, when it is missing and this user may install: a C compiler, which
# they need, and tools and programs, without which some tests are skipped (visibly). Whatever cannot be
# installed is no error, a missing compiler excepted.
set -euo pipefail
cd "$(dirname "$0")/../.."

# What to look for, and the names of its package for apt-get, dnf, zypper, pacman and apk; "-": none.
wanted() {
  cat <<'TABLE'
cc              build-essential       gcc                 gcc              base-devel     build-base
c++             g++                   gcc-c++             gcc-c++          gcc            g++
make            make                  make                make             make           make
pkg-config      pkg-config            pkgconf-pkg-config  pkg-config       pkgconf        pkgconf
strace          strace                strace              strace           strace         strace
bash            bash                  bash                bash             bash           bash
dash            dash                  dash                dash             dash           dash
perl            perl                  perl                perl             perl           perl
tclsh           tcl                   tcl                 tcl              tcl            tcl
expect          expect                expect              expect           expect         expect
node            nodejs                nodejs              nodejs-default   nodejs         nodejs
java            default-jdk-headless  java-headless       java-devel       jdk-openjdk    openjdk21-jdk
python3         python3               python3             python3          python         python3
python3-test    libpython3-testsuite  python3-test        python3-testsuite  -            python3-tests
initdb          postgresql            postgresql-server   postgresql-server  postgresql   postgresql
pgbench         postgresql-contrib    postgresql-contrib  postgresql-contrib  -           postgresql-contrib
redis-server    redis-server          redis               redis            redis          redis
nginx           nginx-light           nginx               nginx            nginx          nginx
stress-ng       stress-ng             stress-ng           stress-ng        stress-ng      stress-ng
TABLE
}

is_there() {
  case $1 in
    python3-test) command -v python3 >/dev/null && python3 -c 'import test.test_signal' 2>/dev/null ;;
    # The programs of the server are not in PATH everywhere.
    initdb | pgbench) command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql*/*/bin/$1" >/dev/null ;;
    *) PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
  esac
}

# The missing ones' packages for the package manager of this column (2 to 6).
packages() {
  local what names
  while read -r what names; do
    is_there "$what" || cut -d ' ' -f "$(($1 - 1))" <<<"$(tr -s ' ' <<<"$names")"
  done < <(wanted) | grep -vx -e - | sort -u
}

missing() { wanted | while read -r what _; do is_there "$what" || echo "$what"; done; }

# The packages of servers would start them, and PostgreSQL's make a cluster: neither is wanted here.
without_services() {
  local policy=/usr/sbin/policy-rc.d status=0 ours=false
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod +x "$policy" && ours=true
  fi
  "$@" || status=$?
  if "$ours"; then as_root rm -f "$policy"; fi
  return "$status"
}

# All at once, or, when one of them is unknown here, one by one.
install_with() {
  local package
  "$@" "${names[@]}" && return
  for package in "${names[@]}"; do "$@" "$package" || true; done
}

install_missing() {
  if command -v apt-get >/dev/null; then
    mapfile -t names < <(packages 2)
    as_root apt-get update -qq || true
    without_services install_with as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -qq --no-install-recommends
  elif command -v dnf >/dev/null; then
    mapfile -t names < <(packages 3)
    install_with as_root dnf install -y -q
  elif command -v zypper >/dev/null; then
    mapfile -t names < <(packages 4)
    install_with as_root zypper --non-interactive --quiet install
  elif command -v pacman >/dev/null; then
    mapfile -t names < <(packages 5)
    install_with as_root pacman -S --noconfirm --needed
  elif command -v apk >/dev/null; then
    mapfile -t names < <(packages 6)
    install_with as_root apk add
  else
    echo "no package manager is known here"
  fi
}

if [ "$(id -u)" = 0 ]; then
  as_root() { "$@"; }
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root() { sudo -n "$@"; }
else
  as_root() { false; }
fi

if [ -n "$(missing)" ]; then
  if as_root true; then
    install_missing || true
  else
    echo "neither root nor sudo: nothing can be installed"
  fi
  left=$(missing | paste -sd ' ')
  [ -z "$left" ] || echo "not installed, tests that need them are skipped: $left"
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
