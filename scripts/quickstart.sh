#!/usr/bin/env bash
# Counts the words of this project's own texts with Flumen.
#   scripts/quickstart.sh          in an embedded cluster: one process, nothing to install but Rust and a C compiler
#   scripts/quickstart.sh --yarn   on a real one-node Hadoop, fetched from Maven Central, started, used and stopped
set -euo pipefail
. "$(dirname "$0")/lib.sh"

YARN=
case ${1:-} in
  '') ;;
  --yarn) YARN=yes ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
BIN=${CARGO_TARGET_DIR:-$ROOT/target}/release
WORK=$(mktemp -d "${TMPDIR:-/tmp}/flumen-quickstart.XXXXXX")
on_exit() { rm -rf "$WORK"; }
cd "$ROOT"

# One folder with all texts of the project: README, ARCHITECTURE, LICENSE and everything in docs/.
gather() {
  mkdir "$WORK/texts"
  find ./*.md LICENSE docs -type f | while read -r text; do
    text=${text#./}
    cp "$text" "$WORK/texts/${text//\//-}"
  done
  wc -l "$WORK"/texts/* | tail -n 1
}

# top FILE: the most frequent words of lines «(word,count)»; of a word that comes with several counts, the last.
top() {
  printf '%10s  %s\n' count word
  sed 's/^(\(.*\),\([0-9]*\))$/\2 \1/' "$1" | sort -k1,1nr -k2 |
    awk '!seen[$2]++ && ++shown <= 12 {printf "%10d  %s\n", $1, $2}'
}

embedded() {
  "$BIN/wordcount" --input "$WORK/texts" --output "$WORK/counts"
}

# The cluster ends when the pipe to it closes: after this script in any case.
start_hadoop() {
  coproc HADOOP { exec "$BIN/mini-hadoop" start; }
  local line
  read -r line <&"${HADOOP[0]}" || die "Hadoop did not start; its messages are above"
  CONF=$(field conf_dir "$line") HDFS=$(field hdfs "$line") WEBHDFS=$(field webhdfs "$line") RM=$(field rm "$line")
}
field() { sed "s|.*\"$1\":\"\([^\"]*\)\".*|\1|" <<<"$2"; }

on_yarn() {
  local text
  for text in "$WORK"/texts/*; do "$BIN/mini-hadoop" put "$WEBHDFS" "$text" "/tmp/texts/${text##*/}"; done
  echo "the ResourceManager's page: $RM"
  HADOOP_CONF_DIR=$CONF "$ROOT/scripts/flink" run -m yarn-cluster -yjm 256m -ytm 512m -p 2 \
    "$BIN/wordcount" --input "$HDFS/tmp/texts" --output "$HDFS/tmp/counts"
}

fetch_result() { "$BIN/mini-hadoop" cat "$WEBHDFS" /tmp/counts >"$WORK/counts.txt"; }

stop_hadoop() {
  local pid=$HADOOP_PID input=${HADOOP[1]}
  exec {input}>&-
  wait "$pid"
}

if [ -z "$YARN" ]; then
  step "checking what is needed" "$ROOT/scripts/setup.sh"
  step "building (the first time takes minutes)" cargo build --release --package flumen-examples --bins
  step "gathering the project's texts" gather
  step "counting their words in an embedded cluster" embedded
  find "$WORK/counts" -type f -exec cat {} + >"$WORK/counts.txt"
else
  step "checking what is needed" "$ROOT/scripts/setup.sh" --hadoop
  step "building (the first time takes minutes)" cargo build --release --workspace --bins
  step "fetching and preparing Hadoop (the first time)" "$BIN/mini-hadoop" install
  step "gathering the project's texts" gather
  step "starting Hadoop" start_hadoop
  step "counting their words on YARN" on_yarn
  step "reading the result from HDFS" fetch_result
  step "stopping Hadoop" stop_hadoop
fi
say "the most frequent words"
top "$WORK/counts.txt"
if [ -z "$YARN" ]; then say "the same on a real YARN: scripts/quickstart.sh --yarn"; fi
