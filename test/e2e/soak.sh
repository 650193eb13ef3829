#!/bin/sh
# nginx, haproxy, redis, memcached and a Python program work under a steady load
# while every second one of them is patched or reverted, in turn. No request may
# fail, no process may be replaced, and none may grow: neither mappings nor
# memory.
#   HOTPATCH=bin/hotpatch MINUTES=20 test/e2e/soak.sh
. "$(dirname "$0")/lib.sh"
minutes=${MINUTES:-20}

# --- subjects: for each NAME its FILE, PIDS, and whether it is applied --------

subjects=
subject() { # NAME FILE PID...
	s=$1
	eval "file_$s=\$2"
	shift 2
	eval "pids_$s=\"$*\" on_$s=0"
	subjects="$subjects $s"
}

package nginx 1.22.1-9+deb12u9 && base=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libpcre2-8-0 libssl3 zlib1g libcrypt1
. "$here/nginx.conf.sh"
if has nginx 1.22.1-9+deb12u10; then
	package nginx 1.22.1-9+deb12u10
	build "$base" "$deb" "$work/nginx.hotpatch"
else # a later one is refused: a struct grew
	build "$base" "$base" "$work/nginx.hotpatch" --all
	# shellcheck disable=SC2046
	trimmed "$work/nginx.hotpatch" "$pid" $(children "$pid")
fi
# shellcheck disable=SC2046 # one pid a word
subject nginx "$work/nginx.hotpatch" "$pid" $(children "$pid")
pages="http://127.0.0.1:$port/ http://127.0.0.1:$port/big.txt http://127.0.0.1:$port/proxy/big.txt"

package haproxy 2.6.12-1+deb12u3 && base=$deb
package haproxy 2.6.12-1+deb12u4 && fixed=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0 libssl3 libsystemd0 libcrypt1
. "$here/haproxy.conf.sh"
build "$base" "$fixed" "$work/haproxy.hotpatch"
# shellcheck disable=SC2046
subject haproxy "$work/haproxy.hotpatch" "$pid" $(children "$pid")
pages="$pages http://127.0.0.1:$port/small http://127.0.0.1:$port/large"

package redis-tools 5:7.0.15-1~deb12u7 && base=$deb
package redis-tools 5:7.0.15-1~deb12u10 && fixed=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libjemalloc2 liblzf1 libatomic1 libssl3 libsystemd0
cp "$work/root/usr/bin/redis-check-rdb" "$work/redis-server"
port=$(free_port)
LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/redis-server" --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$work"
listening "$port"
build "$base" "$fixed" "$work/redis.hotpatch"
subject redis "$work/redis.hotpatch" "$pid"
redis=127.0.0.1:$port

# Of memcached nothing differs: every function that is not always on a stack is
# redirected to a copy of itself.
package memcached 1.6.18-1 && base=$deb
dpkg-deb -x "$base" "$work/root"
libraries "$work/root" libevent-2.1-7 libsasl2-2 libssl3
. "$here/memcached.conf.sh"
memcached=127.0.0.1:$port
build "$base" "$base" "$work/memcached.hotpatch" --all
load_on memcached "$memcached"
trimmed "$work/memcached.hotpatch" "$pid"
subject memcached "$work/memcached.hotpatch" "$pid"

# A Python program with threads that compresses, and the same with its libz. It
# counts what it did and says so at the end.
python=/usr/bin/python3 # the distribution's, not a wrapper
[ -x "$python" ] || python=$(command -v python3 || :)
if [ -n "$python" ]; then
	newest zlib1g
	dpkg-deb -x "$deb" "$work/zlib"
	libz=$(find "$work/zlib" -name 'libz.so.1.*' -type f)
	cat >"$work/work.py" <<-P
		import json, os, signal, sys, threading, zlib
		stop, done = threading.Event(), [0] * 3
		def work(i):
		    text = json.dumps({str(n): [n, n * n, os.urandom(8).hex()] for n in range(300)}).encode()
		    while not stop.wait(0.002):
		        packed = zlib.compress(text, 1 + done[i] % 9)
		        if zlib.decompress(packed) != text or zlib.crc32(text) != zlib.crc32(bytes(text)) or json.loads(text)["7"][1] != 49:
		            print("wrong result", flush=True)
		            os._exit(1)
		        done[i] += 1
		signal.signal(signal.SIGTERM, lambda *_: stop.set())
		threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
		for t in threads: t.start()
		for t in threads: t.join()
		print("python:", sum(done), "rounds, all right")
		sys.exit(0 if min(done) > 0 else 1)
	P
	LD_LIBRARY_PATH=$(dirname "$libz") start "$python" "$work/work.py"
	sleep 1
	worker=$pid
	build "$libz" "$libz" "$work/python.hotpatch" --all
	trimmed "$work/python.hotpatch" "$worker"
	subject python "$work/python.hotpatch" "$worker"
else
	say "python3 is missing: four subjects only"
	worker=
fi

# shellcheck disable=SC2086 # one page a word
load_on http $pages
load_on redis "$redis"

# --- what may not grow ------------------------------------------------------

all_pids() { for s in $subjects; do eval "echo \$pids_$s"; done; }

# brought PID: mappings that hotpatches brought, or left. They are the only
# anonymous ones that are executable and not writable.
brought() { awk '$2 == "r-xp" && $5 == 0 && NF == 5' "/proc/$1/maps" | wc -l; }
mappings() { wc -l <"/proc/$1/maps"; }
memory() { awk '/^(Anonymous):/ { n += $2 } END { print n }' "/proc/$1/smaps_rollup"; }
account() {
	for p in $(all_pids); do
		echo "$p $(brought "$p") $(mappings "$p") $(memory "$p")"
	done
}

# --- the loop ---------------------------------------------------------------

say() { # one line a second would be too much to read
	case $1 in
	"applied "* | "reverted "*) echo "$(date +%T) $*" >>"$work/transitions" ;;
	*) echo "$name: $*" >&2 ;;
	esac
}

transition() { # NAME
	eval "file=\$file_$1 pids=\$pids_$1 on=\$on_$1"
	# shellcheck disable=SC2086 # one pid a word
	if [ "$on" = 0 ]; then
		change apply "$file" applied $pids
		carries 1 $pids
	else
		change revert "$file" reverted $pids
		carries 0 $pids
	fi
	eval "on_$1=$((1 - on))"
	done_n=$((done_n + 1))
}

before=$(identity $(all_pids))
done_n=0
for warm in 1 2 3 4; do # also: there and back, so that every mapping is there
	for s in $subjects; do transition "$s"; done
done
sleep 5
account >"$work/account.begin"
begin=$(date +%s)
end=$((begin + minutes * 60))
told=$begin
due=$(date +%s%N)
while now=$(date +%s) && [ "$now" -lt "$end" ]; do
	for s in $subjects; do
		transition "$s"
		# One a second by the clock: what the transition took is part of its
		# second, and one that took longer lets the next begin at once.
		due=$((due + 1000000000))
		left=$((due - $(date +%s%N)))
		if [ "$left" -gt 0 ]; then
			sleep "$(printf '%d.%09d' $((left / 1000000000)) $((left % 1000000000)))"
		fi
	done
	if [ $((now - told)) -ge 60 ]; then
		told=$now
		say "$(((now - begin) / 60)) of $minutes minutes, $done_n transitions"
	fi
done
for s in $subjects; do
	eval "on=\$on_$s"
	[ "$on" = 0 ] || transition "$s"
done
account >"$work/account.end"
[ "$(identity $(all_pids))" = "$before" ] || fail "the processes are not the same: $before, now $(identity $(all_pids))"

# Mappings that were brought: as many as before. All mappings and all anonymous
# memory: daemons take a little more themselves, by load, never by transition.
paste -d' ' "$work/account.begin" "$work/account.end" >"$work/account"
while read -r p b0 m0 a0 q b1 m1 a1; do
	[ "$p" = "$q" ] || fail "accounts of $p and $q"
	say "$(cat "/proc/$p/comm") ($p): $b0 → $b1 mappings brought, $m0 → $m1 in all, $a0 → $a1 kB anonymous"
	[ "$b0" = "$b1" ] || fail "$p has $b1 mappings that were brought, not $b0"
	[ $((m1 - m0)) -le 16 ] || fail "$p has $((m1 - m0)) mappings more"
	[ $((a1 - a0)) -le $((8192 + a0 / 4)) ] || fail "$p has grown by $((a1 - a0)) kB"
done <"$work/account"

load_off
[ -z "$worker" ] || host_ends "$worker"
say "$(tail -n 2 "$work/transitions" | cut -d' ' -f2-)"
say "$done_n transitions in $minutes minutes; pauses in µs: $(sed -n 's/.*paused \(.*\) µs/\1/p' "$work/transitions" | tr ' ' '\n' | sort -n | awk '{ v[NR] = $1 } END { print "p50 " v[int((NR + 1) / 2)] ", p99 " v[int(NR * 0.99)] ", longest " v[NR] }')"
