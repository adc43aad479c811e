# Ends a cluster when the process that started it ends, however that happens: the other end of stdin is in its hands, and
# the kernel closes it even after SIGKILL.   $1: the run directory
trap '' INT TERM HUP
cat >/dev/null

# The daemons carry the mark in their environment. Containers get a fresh one from their NodeManager, in which LOG_DIRS is
# below the run directory; children of containers inherit it.
pids() { grep -lzE "^(FLUMEN_HADOOP_RUN=$1\$|LOG_DIRS=$1/)" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }

# NodeManagers may be starting a container while they are killed: until nothing is found, a few times at most.
for round in 1 2 3 4 5 6 7 8 9 10; do
  found=$(pids "$1")
  [ -n "$found" ] || break
  kill -KILL $found 2>/dev/null
  [ "$round" = 1 ] || sleep 0.1
done

[ -e "$1/keep" ] || rm -rf "$1"
