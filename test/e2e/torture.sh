#!/bin/sh
# Redirects nearly every function of stock programs to a copy of itself while
# they work: no error may follow. The subjects: redis nginx haproxy libpng
# libcrypto; or those named.
#   HOTPATCH=bin/hotpatch test/e2e/torture.sh [redis ...]
. "$(dirname "$0")/lib.sh"

# torture IMAGE PID...: every function of one ELF file; in, seconds of work, out.
torture() {
	image=$1
	shift
	build "$image" "$image" "$work/$subject.hotpatch" --all
	trimmed "$work/$subject.hotpatch" "$@"
	say "$(cat "$work/trim.log")"
	before=$(identity "$@")
	for n in 1 2; do
		change apply "$work/$subject.hotpatch" applied "$@"
		sleep 4
		change revert "$work/$subject.hotpatch" reverted "$@"
		sleep 1
	done
	[ "$(identity "$@")" = "$before" ] || fail "the processes are not the same: $before, now $(identity "$@")"
}

torture_redis() {
	newest redis-tools
	dpkg-deb -x "$deb" "$work/root"
	libraries "$work/root" libjemalloc2 liblzf1 libatomic1 libssl3 libsystemd0
	port=$(free_port)
	cp "$work/root/usr/bin/redis-check-rdb" "$work/redis-server"
	LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/redis-server" --bind 127.0.0.1 --port "$port" --save '' --appendonly no --dir "$work"
	listening "$port"
	load_on redis "127.0.0.1:$port"
	torture "$work/redis-server" "$pid"
	load_off
}

torture_nginx() {
	newest nginx
	dpkg-deb -x "$deb" "$work/root"
	libraries "$work/root" libpcre2-8-0 libssl3 zlib1g libcrypt1
	. "$here/nginx.conf.sh"
	load_on http "http://127.0.0.1:$port/" "http://127.0.0.1:$port/big.txt" "http://127.0.0.1:$port/proxy/big.txt"
	# shellcheck disable=SC2046 # one pid a word
	torture "$work/root/usr/sbin/nginx" "$pid" $(children "$pid")
	load_off
}

torture_haproxy() {
	newest haproxy
	dpkg-deb -x "$deb" "$work/root"
	libraries "$work/root" liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libpcre2-8-0 libssl3 libsystemd0 libcrypt1
	. "$here/haproxy.conf.sh"
	load_on http "http://127.0.0.1:$port/small" "http://127.0.0.1:$port/large"
	# shellcheck disable=SC2046
	torture "$work/root/usr/sbin/haproxy" "$pid" $(children "$pid")
	load_off
}

torture_libpng() {
	newest libpng16-16
	dpkg-deb -x "$deb" "$work/root"
	png=$(library_path "$work/root" | cut -d: -f1)/libpng16.so.16
	gcc -O1 -pthread "$here/png.c" "$png" -o "$work/png" || fail "cannot compile png.c"
	LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/png"
	sleep 1
	torture "$png" "$pid"
	host_ends "$pid"
}

torture_libcrypto() {
	newest libssl3
	dpkg-deb -x "$deb" "$work/root"
	crypto=$(library_path "$work/root" | cut -d: -f1)/libcrypto.so.3
	gcc -O1 -pthread "$here/crypto.c" "$crypto" -o "$work/crypto" || fail "cannot compile crypto.c"
	LD_LIBRARY_PATH=$(library_path "$work/root") start "$work/crypto"
	sleep 1
	torture "$crypto" "$pid"
	host_ends "$pid"
}

if [ $# = 1 ]; then
	subject=$1
	case $subject in
	redis | nginx | haproxy | libpng | libcrypto) "torture_$subject" ;;
	*) fail "no such subject: $subject" ;;
	esac
	exit 0
fi
[ $# -gt 0 ] || set -- redis nginx haproxy libpng libcrypto
passed=0 failed=0 skipped=0
export HOTPATCH HOTPATCH_TOOLS="$tools"
for s; do
	sh "$0" "$s" && code=0 || code=$?
	case $code in
	0) passed=$((passed + 1)) && echo "PASS torture $s" ;;
	77) skipped=$((skipped + 1)) && echo "SKIP torture $s" ;;
	*) failed=$((failed + 1)) && echo "FAIL torture $s" ;;
	esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
