#!/usr/bin/env bash
# Makes a distribution that can be unpacked anywhere: dist/flumen-<version>/ with bin/ conf/ lib/ examples/.
#   scripts/package.sh             its examples keep state in memory only
#   scripts/package.sh --rocksdb   they can keep it in RocksDB, too; everything else is the same
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

ROCKSDB=
case ${1:-} in
  '') ;;
  --rocksdb) ROCKSDB=yes ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

VERSION=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
BIN=${CARGO_TARGET_DIR:-target}/release
DIST=dist/flumen-$VERSION
PROGRAMS='flink flumen-appmaster flumen-taskexecutor'

build() { cargo build --release --workspace --bins --features "zookeeper${ROCKSDB:+,rocksdb}"; }

collect() {
  local program example new
  rm -rf "$DIST" "$DIST.new"
  new=$DIST.new
  mkdir -p "$new/bin" "$new/conf" "$new/lib" "$new/examples"
  install -m 755 scripts/dist/flink scripts/dist/yarn-session.sh "$new/bin/"
  cp conf/* "$new/conf/"
  for program in $PROGRAMS; do
    install -m 755 "$BIN/$program" "$new/lib/$program"
  done
  for example in examples/src/bin/*.rs; do
    install -m 755 "$BIN/$(basename "$example" .rs)" "$new/examples/"
  done
  cp -r LICENSE README.md ARCHITECTURE.md docs "$new/"
  mv "$new" "$DIST"
}

step "checking what is needed" scripts/setup.sh ${ROCKSDB:+--rocksdb}
if [ -n "$ROCKSDB" ]; then step "preparing RocksDB" scripts/rocksdb.sh; fi
step "building" build
step "collecting $DIST" collect
du -sh "$DIST"/lib/* "$DIST" | sed 's/^/  /'
