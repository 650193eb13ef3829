#!/bin/sh
# Runs the live tests (those that start processes and change them) again and
# again, several at a time, so that each is the others' load: what depends on
# timing shows itself.
#   TIMES=50 JOBS=4 test/repeat.sh [PACKAGE...]
# Failures stay in the directory that is named at the end. exit 0: none failed.
set -eu
cd "$(dirname "$0")/.."
times=${TIMES:-50} jobs=${JOBS:-4}
[ $# -gt 0 ] || set -- ptrace proc unwind watch txn
logs=$(mktemp -d "${TMPDIR:-/tmp}/hotpatch-repeat.XXXXXX")
chmod 755 "$logs" # some tests go on as another user
mkdir -m 755 "$logs/victims" # compiled once for all rounds
export HOTPATCH_TEST_VICTIMS="$logs/victims"
for p; do go test -c -o "$logs/$p.test" "./internal/$p"; done

once() { # N, a round of its own: every package, one after the other
	n=$1
	shift
	for p; do
		log=$logs/$p.$n.log
		if (cd "internal/$p" && HOTPATCH_TEST_FULL=1 "$logs/$p.test" -test.timeout 30m) >"$log" 2>&1; then
			rm "$log"
		else
			echo "$(date +%T) round $n: $p failed: $log" >&2
		fi
	done
	echo "$(date +%T) round $n of $times" >&2
}

worker() { # J: every JOBS-th round
	n=$1
	shift
	while [ "$n" -le "$times" ]; do
		once "$n" "$@"
		n=$((n + jobs))
	done
}

j=1
while [ "$j" -le "$jobs" ]; do
	worker "$j" "$@" &
	j=$((j + 1))
done
wait
rm -rf "$logs"/*.test "$logs/victims"
failed=$(find "$logs" -name '*.log' | wc -l)
echo "$times rounds of $*: $failed failed; load $(cut -d' ' -f1-3 /proc/loadavg)"
[ "$failed" = 0 ] && rmdir "$logs"
