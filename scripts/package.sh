#!/usr/bin/env bash
# Makes a distribution that can be unpacked anywhere: dist/flumen-<version>/ with bin/ conf/ lib/ examples/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

VERSION=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
BIN=${CARGO_TARGET_DIR:-target}/release
DIST=dist/flumen-$VERSION
PROGRAMS='flink flumen-appmaster flumen-taskexecutor'

build() { cargo build --release --workspace --bins; }

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

step "checking what is needed" scripts/setup.sh
step "building" build
step "collecting $DIST" collect
du -sh "$DIST"/lib/* "$DIST" | sed 's/^/  /'
