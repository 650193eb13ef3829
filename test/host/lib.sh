# Shared by the scripts of this directory; read with ". ./lib.sh", not run.
#
# A host is a minimal Debian of its own, made by mmdebstrap and booted with
# systemd-nspawn: its own systemd, network, process numbers and files. Nothing
# in it reaches this machine, and it needs no network: the fixed packages lie in
# an archive of its own.
#
# exit 0: passed · 77: skipped, with the reason · anything else: failed.
#
#   HOTPATCH        the tool                              (bin/hotpatch)
#   HOTPATCH_DEB    its Debian package                    (the newest in dist/)
#   HOTPATCH_CACHE  where the root file system and packages stay
#   HOTPATCH_KEEP   keep the working directory
#   HOTPATCH_PATIENCE  wait this many times as long, on a busy machine

set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
name=$(basename "$0" .sh)
HOTPATCH=${HOTPATCH:-$top/bin/hotpatch}
# shellcheck disable=SC2012 # names of ours
HOTPATCH_DEB=${HOTPATCH_DEB:-$(ls -t "$top"/dist/hotpatch_*_amd64.deb 2>/dev/null | head -n 1)}
cache=${HOTPATCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hotpatch}/host
mirror=http://deb.debian.org/debian
daemons="nginx redis-server memcached haproxy"
# What is updated: every installed package of the fixed sources.
updated="nginx nginx-common redis-server redis-tools memcached haproxy libpng16-16"

say() { echo "$name: $*" >&2; }
fail() {
	say "FAILED: $*"
	[ -z "${init:-}" ] || in_host journalctl -u hotpatch-agent.service --no-pager -n 40 -o cat >&2 || :
	exit 1
}
skip() {
	say "skipped: $*"
	[ "${HOTPATCH_TEST_FULL:-}" = 1 ] && exit 1
	exit 77
}

[ "$(id -u)" = 0 ] || skip "needs root, to boot a system of its own"
for tool in mmdebstrap systemd-nspawn dpkg-scanpackages gcc nsenter; do
	command -v $tool >/dev/null || skip "needs $tool (scripts/setup.sh installs it)"
done
[ -x "$HOTPATCH" ] || fail "no tool at $HOTPATCH (make build)"
[ -f "$HOTPATCH_DEB" ] || fail "no Debian package of hotpatch (make deb)"
HOTPATCH=$(cd "$(dirname "$HOTPATCH")" && pwd)/$(basename "$HOTPATCH")

work=$(mktemp -d "${TMPDIR:-/var/tmp}/hotpatch-host.XXXXXX")
root=$work/root
nspawn= init=
cleanup() {
	code=$?
	trap - EXIT
	power_off
	! mountpoint -q "$root/var/lib/hotpatch" || umount "$root/var/lib/hotpatch"
	[ -n "${HOTPATCH_KEEP:-}" ] && say "kept $work" || rm -rf "$work"
	exit $code
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# make_root unpacks a Debian with older services, made once.
make_root() {
	mkdir -p "$cache"
	tar=$cache/bookworm.tar
	if [ ! -f "$tar" ]; then
		say "making a minimal Debian with $daemons (once)"
		rm -rf "$tar"
		mmdebstrap --quiet --format=tar --variant=minbase --include="systemd,systemd-sysv,dbus,libpng16-16,$(echo $daemons | tr ' ' ,)" \
			bookworm "$tar.new" "deb $mirror bookworm main" || fail "mmdebstrap"
		mv "$tar.new" "$tar"
	fi
	mkdir "$root"
	tar -xf "$tar" -C "$root" --exclude='./dev/*'
}

version_in_root() { dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Version}' "$1"; }

# get_deb PACKAGE VERSION fetches a package of this machine's archive, once, and
# prints its file.
get_deb() {
	mkdir -p "$cache/debs"
	f=$cache/debs/$1_$(echo "$2" | sed 's/:/%3a/')_amd64.deb
	a=$cache/debs/$1_$(echo "$2" | sed 's/:/%3a/')_all.deb
	[ -f "$f" ] || [ -f "$a" ] ||
		(cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download "$1=$2" >/dev/null) || return 1
	[ -f "$f" ] && echo "$f" || echo "$a"
}

# newest PACKAGE is the newest version that this machine's archive has.
newest() { apt-cache madison "$1" | awk 'NR == 1 { print $3 }'; }

# power_on boots the host; init is its process 1, as seen from here.
power_on() {
	# Without the system call filter that nspawn lays over everything: a machine
	# has none, and what is under one cannot lift it from others.
	SYSTEMD_SECCOMP=0 systemd-nspawn --quiet --register=no --keep-unit --private-network --boot --console=pipe \
		--directory="$root" </dev/null >>"$work/console.log" 2>&1 &
	nspawn=$!
	n=0
	until [ -n "$init" ] && in_host systemctl is-system-running >"$work/running" 2>/dev/null || grep -q degraded "$work/running" 2>/dev/null; do
		kill -0 "$nspawn" 2>/dev/null || { tail -n 20 "$work/console.log" >&2; fail "the host did not boot"; }
		[ $n -lt 600 ] || { tail -n 20 "$work/console.log" >&2; fail "the host did not come up"; }
		sleep 0.1
		n=$((n + 1))
		init=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null | awk '{ print $1 }')
	done
}

# power_off cuts the power: everything in the host is killed at once.
power_off() {
	[ -n "$nspawn" ] || return 0
	[ -z "$init" ] || kill -KILL "$init" 2>/dev/null || :
	n=0
	while kill -0 "$nspawn" 2>/dev/null && [ $n -lt 100 ]; do
		sleep 0.1
		n=$((n + 1))
	done
	kill -KILL "$nspawn" 2>/dev/null || :
	wait "$nspawn" 2>/dev/null || :
	nspawn= init=
}

# in_host runs a command inside.
in_host() { nsenter -t "$init" -m -u -i -n -p -C -- "$@"; }

# field FILTER reads JSON on stdin: a path such as .track.state.
field() {
	python3 -c '
import json, sys
v = json.load(sys.stdin)
for k in sys.argv[1].strip(".").split("."):
    if k.isdigit(): v = v[int(k)] if isinstance(v, list) and int(k) < len(v) else None
    else: v = v.get(k) if isinstance(v, dict) else None
print("" if v is None else v)' "$1"
}

status() { in_host hotpatch host status --json | field "$1"; }

# wait_for SECONDS TEXT COMMAND... waits until the command succeeds; on a busy
# machine HOTPATCH_PATIENCE times as long.
wait_for() {
	end=$(($(date +%s) + $1 * ${HOTPATCH_PATIENCE:-1})) what=$2
	shift 2
	until "$@"; do
		[ "$(date +%s)" -lt "$end" ] || fail "waited in vain for $what"
		sleep 0.5
	done
}

is() { [ "$(status "$1")" = "$2" ]; }
