#!/bin/sh
# The command `yarn-session.sh` of an unpacked distribution: starts a session on YARN, or attaches to one.
exec "$(dirname "$(readlink -f "$0")")/flink" yarn-session "$@"
