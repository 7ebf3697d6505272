#!/usr/bin/env bash
# Prints the path of a CPython without a GIL. Looks for one first; builds one if there is none, from
# the sources that Debian packages, into a folder of the user's cache. Only Debian and what comes
# from it: sources are fetched with apt, whose signatures vouch for them.
#
#   PYTHON_FREE_THREADED=/path/to/python3.13t   use this one
#   VELRO_CACHE_HOME=~/.cache/velro             where a built one lies
#   DEBIAN_RELEASES="trixie forky sid"          where sources are looked for, in this order
#
# What PyO3 0.28 is built for: 3.13 and 3.14.
set -euo pipefail

versions=(3.14 3.13)
home=${VELRO_CACHE_HOME:-$HOME/.cache/velro}
read -ra releases <<<"${DEBIAN_RELEASES:-sid forky trixie}"

has_no_gil() {
  "$1" -c 'import sys; sys.exit(sys._is_gil_enabled())' 2>/dev/null
}

find_installed() {
  local candidate version
  local candidates=("${PYTHON_FREE_THREADED:-}")
  for version in "${versions[@]}"; do
    candidates+=("$home/python${version}t/bin/python${version}t" "python${version}t")
  done
  for candidate in "${candidates[@]}"; do
    if [ -n "$candidate" ] && candidate=$(command -v "$candidate") && has_no_gil "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}

say() {
  echo "$@" >&2
}

# Fetches the source of a version with apt lists of its own, so that the system's stay as they are.
fetch_source() {
  local version=$1 release=$2 root="$work/$2"
  mkdir -p "$root/lists" "$root/archives" "$root/source"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" \
    >"$root/sources.list"
  local options=(-qq
    -o "Dir::Etc::SourceList=$root/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$root/lists" -o "Dir::Cache=$root/archives"
    -o APT::Sandbox::User="$(id -un)")
  apt-get "${options[@]}" update >/dev/null 2>&1 || return 1
  (cd "$root/source" && apt-get "${options[@]}" source --download-only --only-source \
    "python$version" >/dev/null 2>&1) || return 1
  ls "$root/source/python${version}"_*.orig.tar.*z
}

build() {
  local version=$1 archive=$2 target="$home/python${1}t"
  mkdir "$work/tree"
  tar -xf "$archive" -C "$work/tree" --strip-components 1
  say "building $(basename "$archive") without a GIL; this takes some minutes"
  if ! (
    cd "$work/tree"
    ./configure --prefix="$target" --disable-gil --disable-test-modules --with-ensurepip=install
    make -j "$(nproc)"
    make install DESTDIR="$work/installed"
  ) >"$work/log" 2>&1; then
    tail -n 30 "$work/log" >&2
    return 1
  fi
  # Moved as a whole: half an installation must not be found next time.
  mkdir -p "$home"
  rm -rf "$target"
  mv "$work/installed$target" "$target"
}

if find_installed; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  say "no CPython without a GIL was found, and without apt none can be built here;"
  say "install one (for example python3.13t) and say where with PYTHON_FREE_THREADED"
  exit 1
fi
for tool in gcc make tar xz; do
  command -v "$tool" >/dev/null || { say "building CPython needs $tool"; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
for version in "${versions[@]}"; do
  for release in "${releases[@]}"; do
    if archive=$(fetch_source "$version" "$release"); then
      build "$version" "$archive"
      find_installed
      exit
    fi
    say "python$version: no source from $release"
  done
done
say "no CPython source was to be had"
exit 1
