#!/bin/sh
# Runs all end-to-end scripts, or those named, one after the other.
#   HOTPATCH=bin/hotpatch test/e2e/run.sh [nginx redis ...]
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
HOTPATCH=${HOTPATCH:-$root/bin/hotpatch}
[ -x "$HOTPATCH" ] || (cd "$root" && go build -o "$HOTPATCH" ./cmd/hotpatch) || exit 1
HOTPATCH_TOOLS=$(mktemp -d)
export HOTPATCH HOTPATCH_TOOLS
trap 'rm -rf "$HOTPATCH_TOOLS"' EXIT
trap 'exit 130' INT TERM HUP
(cd "$root" && go build -o "$HOTPATCH_TOOLS/" ./test/e2e/load ./test/e2e/trim) || exit 1

[ $# -gt 0 ] || set -- nginx haproxy redis memcached libpng
passed=0 failed=0 skipped=0
for t; do
	sh "$here/$t.sh" && code=0 || code=$?
	case $code in
	0) passed=$((passed + 1)) && echo "PASS $t" ;;
	77) skipped=$((skipped + 1)) && echo "SKIP $t" ;;
	130) exit 130 ;;
	*) failed=$((failed + 1)) && echo "FAIL $t" ;;
	esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
