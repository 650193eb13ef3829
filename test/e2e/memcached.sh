#!/bin/sh
# memcached 1.6.18-1 → +deb12u1 differs in no function: the verdict is
# "nothing". So the machinery is put through its paces with the identity: every
# function is redirected to a copy of itself.
. "$(dirname "$0")/lib.sh"

package memcached 1.6.18-1+deb12u1 && fixed=$deb
package memcached 1.6.18-1 && base=$deb
"$HOTPATCH" build "$base" "$fixed" -o "$work/none.hotpatch" --json >"$work/build.json" 2>"$work/build.log" ||
	fail "build of a pair without changes: exit code $?"
[ "$(verdict)" = "verdict nothing" ] || fail "a pair without changes has the $(verdict)"
[ ! -e "$work/none.hotpatch" ] || fail "a file was written although there is nothing to patch"

dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libevent-2.1-7 libsasl2-2 libssl3
. "$here/memcached.conf.sh"
load_on memcached "127.0.0.1:$port"

build "$base" "$base" "$work/memcached.hotpatch" --all
trimmed "$work/memcached.hotpatch" "$pid"
cycle "$work/memcached.hotpatch" "$pid"
load_off
