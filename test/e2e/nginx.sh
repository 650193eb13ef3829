#!/bin/sh
# nginx 1.22.1-9+deb12u9 → u10, master and workers: static files, a proxy to
# itself and compression. Archives without u10 have u11, in which a struct of
# HTTP/2 grew: that must be refused, and every function is redirected to a copy
# of itself instead.
. "$(dirname "$0")/lib.sh"

package nginx 1.22.1-9+deb12u9 && base=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libpcre2-8-0 libssl3 zlib1g libcrypt1
. "$here/nginx.conf.sh"
load_on http "http://127.0.0.1:$port/" "http://127.0.0.1:$port/big.txt" "http://127.0.0.1:$port/proxy/big.txt"

# shellcheck disable=SC2046 # one pid a word
set -- "$pid" $(children "$pid")
[ $# = 3 ] || fail "a master and two workers are expected, there are $# processes"
if has nginx 1.22.1-9+deb12u10; then
	package nginx 1.22.1-9+deb12u10
	build "$base" "$deb" "$work/nginx.hotpatch"
else
	package nginx 1.22.1-9+deb12u11
	"$HOTPATCH" build "$base" "$deb" -o "$work/none.hotpatch" --json >"$work/build.json" 2>"$work/build.log" &&
		fail "a struct that grew is not refused: $(verdict)"
	grep -q layout-changed "$work/build.json" || fail "no word of the struct that grew: $(verdict)"
	build "$base" "$base" "$work/nginx.hotpatch" --all
	trimmed "$work/nginx.hotpatch" "$@"
fi
cycle "$work/nginx.hotpatch" "$@"

load_off

# A worker that the patched master forks from now on is patched as well.
old=$2
kill -TERM "$old"
n=0
while
	# shellcheck disable=SC2046
	set -- $(children "$pid")
	[ $# != 2 ] || [ "$1" = "$old" ] || [ "$2" = "$old" ]
do
	n=$((n + 1))
	[ $n -lt 100 ] || fail "the master starts no new worker"
	sleep 0.1
done
carries 1 "$@"
"$load" get "http://127.0.0.1:$port/" >/dev/null || fail "the new workers do not answer"
