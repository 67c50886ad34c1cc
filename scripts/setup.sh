#!/usr/bin/env bash
# Gets a Debian 12 machine ready to build: Debian packages by name, and Torch and Arrow in .deps/venv.
#
#   scripts/setup.sh           what building, training on CPUs and the quickstart need
#   scripts/setup.sh --full    also what the tests and the CUDA build need (4 GB more)
#
# Every step says what it does and is skipped where it is done. Run it as root, or have the packages installed: without
# root it prints the command that installs what is missing, and stops. On another system than Debian 12, install the
# equivalents of scripts/debian-packages.txt yourself and set BERT_SKIP_PACKAGES=1.
set -euo pipefail
cd "$(dirname "$0")/.."

set_name=small
for argument in "$@"; do
  case "$argument" in
    --full) set_name=full ;;
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' scripts/setup.sh; exit 0 ;;
    *) echo "setup.sh: unknown argument '$argument'; it takes only --full" >&2; exit 2 ;;
  esac
done

say() { printf '[set-up] %s\n' "$*"; }

fail() {
  printf 'setup.sh: %s\n' "$*" >&2
  exit 1
}

# The names in scripts/debian-packages.txt, one a line.
wanted_packages() {
  sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' scripts/debian-packages.txt |
    if [ "$set_name" = full ]; then sed '/^\[full\]$/d'; else sed '/^\[full\]$/,$d'; fi
}

missing_packages() {
  local package
  for package in $(wanted_packages); do
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null)" = "ii " ] || echo "$package"
  done
}

install_packages() {
  if [ "${BERT_SKIP_PACKAGES:-}" = 1 ]; then
    say "Debian packages: skipped, as BERT_SKIP_PACKAGES=1 asks"
    return
  fi
  # shellcheck source=/dev/null
  if ! (. /etc/os-release && [ "$ID-${VERSION_ID:-}" = debian-12 ]) 2>/dev/null; then
    fail "this is not Debian 12. Install what these packages hold, then set BERT_SKIP_PACKAGES=1:
$(wanted_packages | paste -sd ' ')"
  fi
  local missing
  read -r -a missing <<<"$(missing_packages | paste -sd ' ')"
  if [ ${#missing[@]} -eq 0 ]; then
    say "Debian packages: already there ($(wanted_packages | wc -l))"
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    fail "Debian packages are missing, and installing them takes root. Run this, then try again:
sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends ${missing[*]}'"
  fi
  say "Debian packages: installing ${missing[*]}"
  apt-get -qq -o Acquire::Retries=3 update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 install -y \
    --no-install-recommends "${missing[@]}" >.deps/apt.log 2>&1 ||
    { tail -20 .deps/apt.log >&2; fail "apt-get could not install the packages; the whole log is .deps/apt.log"; }
}

# One try more where the network stumbled; pip keeps what it has downloaded.
pip_install() {
  local attempt
  for attempt in 1 2 3; do
    .deps/venv/bin/python -m pip install --quiet --no-input --disable-pip-version-check --progress-bar off \
      --no-deps --retries 5 --timeout "${PIP_DEFAULT_TIMEOUT:-60}" -r "$1" && return
    say "Python packages: attempt $attempt failed"
  done
  fail "pip could not install $1; the messages above say why"
}

# A stamp file holds the digest of the requirements that were installed.
stamped() {
  [ "$(cat ".deps/venv/installed-$1" 2>/dev/null)" = "$(sha256sum <"scripts/requirements-$1.txt")" ]
}

install_python() {
  if ! .deps/venv/bin/python -c 'import pip' 2>/dev/null; then
    say "Python environment: creating .deps/venv"
    rm -rf .deps/venv
    python3 -m venv .deps/venv || fail "python3 could not make a virtual environment (package python3-venv)"
  fi
  if stamped "$set_name" || { [ "$set_name" = small ] && stamped full; }; then
    say "Python packages: already there ($set_name set)"
    return
  fi
  local count
  count=$(grep -c == "scripts/requirements-$set_name.txt")
  say "Python packages: installing the $set_name set ($count) into .deps/venv"
  pip_install "scripts/requirements-$set_name.txt"
  if [ "$set_name" = full ]; then
    .deps/venv/bin/python -m pip check --disable-pip-version-check ||
      fail "scripts/requirements-full.txt lacks what pip names above"
  fi
  sha256sum <"scripts/requirements-$set_name.txt" >".deps/venv/installed-$set_name"
}

mkdir -p .deps
# Two at once would trip over each other.
exec 9>.deps/lock
flock 9
install_packages
install_python
say "done in $SECONDS s"
