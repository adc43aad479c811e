# Shared by the scripts of this folder; sourced by bash, with `set -euo pipefail` set.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# step TITLE COMMAND...: runs it, and tells what it was and how long it took. Not in a condition, where `set -e` sleeps.
step() {
  local start=$SECONDS
  STEP=$1
  shift
  say "$STEP"
  "$@"
  printf -- '--- %s: %d s\n' "$STEP" $((SECONDS - start))
  STEP=
}

# At the end, however it comes: `on_exit` of the script, if it has one, and the step that failed.
finish() {
  local status=$?
  if [ "$status" != 0 ] && [ -n "${STEP:-}" ]; then printf '\nfailed: %s (exit code %s)\n' "$STEP" "$status" >&2; fi
  if declare -F on_exit >/dev/null; then on_exit; fi
}
trap finish EXIT

# at_least VERSION MINIMUM
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "this needs root: $*   (neither root nor sudo is at hand)"
  fi
}

# apt_install WHY PACKAGE...
apt_install() {
  local why=$1
  shift
  command -v apt-get >/dev/null || die "$why is missing; install what your system calls: $*"
  say "installing $why: $*"
  if [ -z "${APT_UPDATED:-}" ]; then as_root apt-get update -q; APT_UPDATED=1; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

need_rust() {
  local minimum version
  minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null || die "no Rust toolchain; install Rust $minimum or newer from https://rustup.rs and run this again"
  version=$(cargo --version | cut -d' ' -f2)
  at_least "$version" "$minimum" || die "Rust $version is too old, $minimum is needed: rustup update stable"
}

# Some libraries carry C code, and Rust links with cc.
need_c_compiler() {
  printf '#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n' | cc -x c - -o /dev/null 2>/dev/null ||
    apt_install "a C compiler" gcc libc6-dev
}

# Only for RocksDB: it is C++, and its bindings are made with libclang.
need_rocksdb_tools() {
  printf '#include <cstdint>\nint main() { return 0; }\n' | "${CXX:-g++}" -std=c++20 -x c++ - -o /dev/null 2>/dev/null ||
    apt_install "a C++ compiler" g++
  if [ -n "${LIBCLANG_PATH:-}" ] || command -v llvm-config >/dev/null && [ -e "$(llvm-config --libdir)/libclang.so" ]; then return; fi
  compgen -G '/usr/lib*/llvm*/lib*/libclang*.so*' | grep -q 'libclang\(-[0-9.]*\)\?\.so' || apt_install "libclang" libclang-dev
}

java_major() {
  local java=java
  if [ -n "${JAVA_HOME:-}" ]; then java=$JAVA_HOME/bin/java; fi
  "$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p;' | head -n 1
}

# Only for the real Hadoop: its daemons are Java, and Maven fetches them.
need_hadoop_tools() {
  local major version
  major=$(java_major || true)
  if [ "${major:-0}" -lt 17 ]; then
    [ -z "${JAVA_HOME:-}" ] || die "JAVA_HOME is Java ${major:-(none)}; Hadoop needs 17 or newer: set it to another one, or unset it"
    for version in 17 21 25; do
      if [ -z "${APT_UPDATED:-}" ] && command -v apt-get >/dev/null; then as_root apt-get update -q; APT_UPDATED=1; fi
      if apt-cache show "openjdk-$version-jre-headless" >/dev/null 2>&1; then break; fi
    done
    apt_install "Java 17 or newer" "openjdk-$version-jre-headless"
  fi
  command -v mvn >/dev/null || apt_install "Maven" maven
}

# Only for tests that cut the network between processes, which say so when they can't.
need_firewall_tools() {
  command -v nft >/dev/null || (apt_install "nft, to cut the network in tests" nftables) ||
    say "going on without nft: tests that cut the network are not run"
}
