#!/usr/bin/env bash
# Installs what a build needs and this machine lacks, or says what to install. Does nothing when all is there.
#   scripts/setup.sh            for building and running jobs in an embedded cluster
#   scripts/setup.sh --hadoop   for running on a real Hadoop, too: Java and Maven
set -euo pipefail
. "$(dirname "$0")/lib.sh"

case ${1:-} in
  '' | --hadoop) ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
need_rust
need_c_compiler
if [ "${1:-}" = --hadoop ]; then need_hadoop_tools; fi
