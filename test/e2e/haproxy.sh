#!/bin/sh
# haproxy 2.6.12-1+deb12u3 → u4, master and worker, before an HTTP server.
. "$(dirname "$0")/lib.sh"

package haproxy 2.6.12-1+deb12u3 && base=$deb
package haproxy 2.6.12-1+deb12u4 && fixed=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0 libssl3 libsystemd0 libcrypt1
. "$here/haproxy.conf.sh"
load_on http "http://127.0.0.1:$port/small" "http://127.0.0.1:$port/large"

build "$base" "$fixed" "$work/haproxy.hotpatch"
# shellcheck disable=SC2046 # one pid a word
cycle "$work/haproxy.hotpatch" "$pid" $(children "$pid")
load_off
