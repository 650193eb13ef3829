#!/bin/sh
# redis-server 5:7.0.15-1~deb12u7 → u10. The server's code is redis-tools'
# file redis-check-rdb; redis-server is a link to it.
. "$(dirname "$0")/lib.sh"

package redis-tools 5:7.0.15-1~deb12u7 && base=$deb
package redis-tools 5:7.0.15-1~deb12u10 && fixed=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libjemalloc2 liblzf1 libatomic1 libssl3 libsystemd0
cp "$work/root/usr/bin/redis-check-rdb" "$work/redis-server"
port=$(free_port)
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/redis-server" --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$work"
listening "$port"
load_on redis "127.0.0.1:$port"

build "$base" "$fixed" "$work/redis.hotpatch"
cycle "$work/redis.hotpatch" "$pid"
load_off
