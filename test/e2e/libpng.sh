#!/bin/sh
# libpng16-16 1.6.39-2+deb12u5 → u6 in a process of two threads that encodes and
# decodes images all the time and checks every pixel.
. "$(dirname "$0")/lib.sh"

package libpng16-16 1.6.39-2+deb12u5 && base=$deb
package libpng16-16 1.6.39-2+deb12u6 && fixed=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" zlib1g
png=$(library_path "$work/root" | cut -d: -f1)/libpng16.so.16
gcc -O1 -pthread "$here/png.c" "$png" -o "$work/png" || fail "cannot compile png.c"
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/png"
sleep 1

build "$base" "$fixed" "$work/libpng.hotpatch"
cycle "$work/libpng.hotpatch" "$pid"
host_ends "$pid"
