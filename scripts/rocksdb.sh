#!/usr/bin/env bash
# Compiles RocksDB once per machine (8 CPU minutes), where builds with the feature `rocksdb` find it.
#   scripts/rocksdb.sh          says where it is, too, for builds outside of this folder: eval "$(scripts/rocksdb.sh)"
# Kept in ${FLUMEN_CACHE:-${XDG_CACHE_HOME:-~/.cache}/flumen}/rocksdb-<version>/; delete that folder to compile again.
# Cargo itself would take 30 CPU minutes, for each target folder: see .cargo/config.toml.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
if [ $# != 0 ]; then sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; fi

RECIPE=1      # part of the folder's name: count up when the commands below make something else
FILES_PER_PART=24

# source_of PACKAGE: where cargo keeps the sources of the version in Cargo.lock.
source_of() {
  local path
  path=$(grep -o "\"manifest_path\":\"[^\"]*/$1[^/\"]*/Cargo.toml\"" <<<"$METADATA" | head -n 1 || true)
  path=${path#*:\"}
  [ -n "$path" ] || die "Cargo.lock names no $1"
  dirname "$path"
}

compiler_flags() {
  local lz4=$1
  case $(uname -m) in # as far as every processor of the last 15 years goes: checksums in hardware
    x86_64) echo -msse4.2 -mpclmul ;;
    aarch64) echo -march=armv8-a+crc+crypto ;;
  esac
  echo -std=c++20 -O2 -w -fPIC -ffunction-sections -fdata-sections -include cstdint
  echo -Irocksdb/include -Irocksdb -I. "-I$lz4/liblz4/lib" -DLZ4=1 -DNDEBUG=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION
  echo -DOS_LINUX -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
  echo -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
}

# The C++ files of the package go through the compiler some dozens at a time (RocksDB's own «unity build»): most of the time
# for one of them goes into the same headers.
compile() {
  local rocksdb=$1 flags=$2 new=$3
  cd "$rocksdb"
  mkdir -p "$new/parts"
  { grep -v '^util/build_version.cc' rocksdb_lib_sources.txt; echo build_version.cc; } | sed 's/.*/#include "&"/' |
    split -d -l "$FILES_PER_PART" --additional-suffix=.cc - "$new/parts/part"
  # shellcheck disable=SC2016 # the inner shell's variables
  find "$new/parts" -name '*.cc' | sort |
    CXX=${CXX:-g++} FLAGS=$flags COUNT=$(find "$new/parts" -name '*.cc' | wc -l) \
      xargs -P "$(nproc)" -I{} bash -c '$CXX $FLAGS -c {} -o {}.o && echo "  $(basename {} .cc) of $COUNT"' ||
    die "RocksDB did not compile; the compiler's messages are above"
  ar crs "$new/librocksdb.a" "$new"/parts/*.o
  # Next to it, the linker finds C++'s library before the shared one: programs then run on machines with an older one, or none.
  cp "$(${CXX:-g++} -print-file-name=libstdc++.a)" "$new/"
  rm -r "$new/parts"
}

on_exit() { if [ -n "${NEW:-}" ]; then rm -rf "$NEW"; fi; }

# prepare: sets LIB_DIR.
prepare() {
  local rocksdb version cache
  [ "$(uname -s)" = Linux ] || die "this script knows Linux only; on other systems, cargo compiles RocksDB itself"
  METADATA=$(cargo metadata --manifest-path "$ROOT/Cargo.toml" --format-version 1 --all-features --quiet)
  rocksdb=$(source_of librocksdb-sys)
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$rocksdb/Cargo.toml" | head -n 1)
  cache=${FLUMEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flumen}
  LIB_DIR=$cache/rocksdb-$version-$RECIPE
  mkdir -p "$cache"
  exec 9>"$LIB_DIR.lock"
  flock --nonblock 9 || { say "waiting for another build of RocksDB"; flock --timeout 3600 9; } ||
    die "another build of RocksDB holds $LIB_DIR.lock for an hour: see what it does"
  if [ -e "$LIB_DIR" ]; then return; fi
  rm -rf "$LIB_DIR".new.* # of a run that was killed
  NEW=$LIB_DIR.new.$$
  say "RocksDB ${version#*+} is compiled once on this machine: 8 CPU minutes, on $(nproc) cores"
  step "compiling RocksDB" \
    compile "$rocksdb" "$(compiler_flags "$(source_of lz4-sys)" | tr '\n' ' ')" "$NEW"
  mv "$NEW" "$LIB_DIR"
  NEW=
}

need_rust >&2
need_rocksdb_tools >&2
prepare >&2
mkdir -p "$ROOT/.cache"
ln -sfn "$LIB_DIR" "$ROOT/.cache/rocksdb" # what .cargo/config.toml names
printf 'export ROCKSDB_LIB_DIR=%q ROCKSDB_STATIC=1\n' "$LIB_DIR"
