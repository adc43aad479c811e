#!/usr/bin/env bash
# Installs what a build needs and this machine lacks, or says what to install. Does nothing when all is there.
#   scripts/setup.sh            for building and running jobs in an embedded cluster
#   scripts/setup.sh --hadoop   for running on a real Hadoop, too: Java and Maven
#   scripts/setup.sh --cuts     for tests that cut the network, too: nft
#   scripts/setup.sh --rocksdb  for builds with the feature `rocksdb`, too: C++ and libclang
# The options can stand together.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

for option in "$@"; do
  case $option in --hadoop | --cuts | --rocksdb) ;; *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
done
need_rust
need_c_compiler
case " $* " in *" --hadoop "*) need_hadoop_tools ;; esac
case " $* " in *" --cuts "*) need_firewall_tools ;; esac
case " $* " in *" --rocksdb "*) need_rocksdb_tools ;; esac
