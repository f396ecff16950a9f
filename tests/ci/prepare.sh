#!/usr/bin/env bash
# Installs what the tests look for, when it is missing and this user may install: a C compiler, which
# they need, and tools and programs, without which some tests are skipped (visibly). Whatever cannot be
# installed is no error, a missing compiler excepted.
set -euo pipefail
cd "$(dirname "$0")/../.."

# What to look for; the names of its package for apt-get, dnf, zypper, pacman and apk ("-": none); what is
# skipped without it.
wanted() {
  cat <<'TABLE'
cc              build-essential        gcc                 gcc                base-devel   build-base          everything
c++             g++                    gcc-c++             gcc-c++            gcc          g++                 one test of capi
make            make                   make                make               make         make                one test of capi
pkg-config      pkg-config             pkgconf-pkg-config  pkg-config         pkgconf      pkgconf             one test of capi
strace          strace                 strace              strace             strace       strace              counts of system calls
bash            bash                   bash                bash               bash         bash                shells
dash            dash                   dash                dash               dash         dash                shells
perl            perl                   perl                perl               perl         perl                scripts
tclsh           tcl                    tcl                 tcl                tcl          tcl                 scripts
expect          expect                 expect              expect             expect       expect              scripts
tclx            tclx8.4                tclx                tclx               -            -                   scripts
node            nodejs                 nodejs              nodejs-default     nodejs       nodejs              scripts
java            default-jdk-headless   java-devel          java-devel         jdk-openjdk  openjdk21-jdk       jvm, three_owners, fault_neighbours
python3         python3                python3             python3            python       python3             cpython, vfork_storm, fault_neighbours
python3-test    libpython3.X-testsuite python3-test        python3-testsuite  -            python3-tests       cpython
initdb          postgresql             postgresql-server   postgresql-server  postgresql   postgresql          postgres
pgbench         postgresql-contrib     postgresql-contrib  postgresql-contrib -            postgresql-contrib  postgres
redis-server    redis-server           redis               redis              redis        redis               servers
nginx           nginx                  nginx               nginx              nginx        nginx               servers
stress-ng       stress-ng              stress-ng           stress-ng          stress-ng    stress-ng           stress_ng
TABLE
}

is_there() {
  case $1 in
    java) command -v javac >/dev/null && command -v java >/dev/null ;;
    python3-test) command -v python3 >/dev/null && python3 -c 'import test.test_signal' 2>/dev/null ;;
    tclx) command -v tclsh >/dev/null && echo 'puts [package require Tclx]' | tclsh 2>/dev/null | grep -q . ;;
    # The programs of the server are not in PATH everywhere.
    initdb | pgbench) command -v "$1" >/dev/null || compgen -G "/usr/lib/postgresql*/*/bin/$1" >/dev/null ;;
    *) PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null ;;
  esac
}

# Looked for once before installing, and once after.
missing=()
look() {
  local what
  missing=()
  while read -r what _; do is_there "$what" || missing+=("$what"); done < <(wanted)
}

# The missing ones' packages for the package manager of this column (2 to 6).
packages() {
  local what names
  while read -r what names; do
    [[ " ${missing[*]} " != *" $what "* ]] || cut -d ' ' -f "$(($1 - 1))" <<<"$(tr -s ' ' <<<"$names")"
  done < <(wanted) | grep -vx -e - | sort -u
}

# Debian's name of the package has the version of its python3.
python_of_debian() { apt-cache show python3 2>/dev/null | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1; }

# What is missing, each with what goes without it.
report() {
  local what names
  while read -r what names; do
    [[ " ${missing[*]} " != *" $what "* ]] || echo "not installed: $what; skipped without it: $(tr -s ' ' <<<"$names" | cut -d ' ' -f 6-)"
  done < <(wanted)
}

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
  [ "${#names[@]}" != 0 ] || return 0
  "$@" "${names[@]}" && return
  for package in "${names[@]}"; do "$@" "$package" || true; done
}

install_missing() {
  if command -v apt-get >/dev/null; then
    as_root apt-get update -qq -o Acquire::Retries=0 -o Acquire::http::Timeout=20 || true
    mapfile -t names < <(packages 2 | sed "s/python3\.X/python$(python_of_debian)/")
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

look
if [ "${#missing[@]}" != 0 ]; then
  if as_root true; then
    echo "installing: ${missing[*]}"
    install_missing || true
    look
  else
    echo "neither root nor sudo: nothing can be installed"
  fi
  report
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
if [ "${#missing[@]}" = 0 ]; then echo "everything that the tests look for is there"; fi
