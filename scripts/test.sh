#!/usr/bin/env bash
# Runs all checks and tests, those on the real Hadoop included (fetched through Maven, started and stopped by the tests).
#   scripts/test.sh              everything
#   scripts/test.sh STEP...      some of: fmt clippy unit doc itests
#   scripts/test.sh itests NAME  the tests on the real Hadoop whose file is itests/tests/NAME.rs (tidy, hadoop, …)
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }

# One set of packages and features for all steps, and a test in each: else cargo would build everything again.
WORKSPACE=(--workspace --features rocksdb,zookeeper)
fmt() { step "formatting" cargo fmt --all --check; }
clippy() { step "lints" cargo clippy "${WORKSPACE[@]}" --all-targets --quiet -- -D warnings; }
unit() { step "unit tests" cargo test "${WORKSPACE[@]}" --lib --bins --quiet; }
doc() { step "documentation's examples" cargo test "${WORKSPACE[@]}" --doc --quiet; }
itests() {
  step "building the programs under test" cargo build "${WORKSPACE[@]}" --bins --test tidy
  # Hadoop is fetched here, where its progress is seen, and not inside of the first test that needs it.
  step "preparing Hadoop" "${CARGO_TARGET_DIR:-target}/debug/mini-hadoop" install
  step "integration tests ($1)" cargo test "${WORKSPACE[@]}" --test "$1"
}

STEPS=${*:-fmt clippy unit doc itests}
START=$SECONDS
NAME='*'
if [ "${1:-}" = itests ] && [ $# = 2 ]; then STEPS=itests NAME=$2; fi
for one in $STEPS; do
  case $one in fmt | clippy | unit | doc | itests) ;; *) usage ;; esac
done

case $STEPS in
  fmt) step "checking what is needed" scripts/setup.sh ;;
  *itests*) step "checking what is needed" scripts/setup.sh --rocksdb --hadoop --cuts ;;
  *) step "checking what is needed" scripts/setup.sh --rocksdb ;;
esac
if [ "$STEPS" != fmt ]; then step "preparing RocksDB" scripts/rocksdb.sh; fi
for one in $STEPS; do "$one" "$NAME"; done
say "all passed in $((SECONDS - START)) s"
