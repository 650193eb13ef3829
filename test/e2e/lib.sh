# Shared by the end-to-end scripts; read with ". ./lib.sh", not run. POSIX sh.
#
# Each script takes a stock daemon, old, from Debian's archive, puts it under a
# steady load, patches it, reverts and patches again. It installs nothing, works
# in a directory of its own, listens on loopback only and ends by pid whatever
# it started.
#
# exit 0: passed · 77: skipped, with the reason · anything else: failed.
#
#   HOTPATCH        the tool                       (bin/hotpatch)
#   HOTPATCH_CACHE  where fetched packages stay    (~/.cache/hotpatch/packages)
#   HOTPATCH_TOOLS  the helpers load and trim, built (else built here)
#   HOTPATCH_KEEP   keep the working directory

set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$0" .sh)
root=$(cd "$here/../.." && pwd)
HOTPATCH=${HOTPATCH:-$root/bin/hotpatch}
cache=${HOTPATCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hotpatch/packages}
work=$(mktemp -d "${TMPDIR:-/tmp}/hotpatch-$name.XXXXXX")
chmod 755 "$work" # daemons that drop privileges read their files here
started=          # pids to end, newest first
loads=            # those of them that are loads

say() { echo "$name: $*" >&2; }
fail() {
	say "FAILED: $*"
	for log in "$work"/*.log; do
		[ -s "$log" ] && sed "s|^|$name: $(basename "$log"): |" "$log" | tail -n 8 >&2
	done
	exit 1
}
skip() {
	say "skipped: $*"
	exit 77
}

cleanup() {
	code=$?
	trap - EXIT
	for sig in TERM KILL; do
		for pid in $started; do
			# shellcheck disable=SC2046 # one pid a word
			kill -$sig "$pid" $(children "$pid") 2>/dev/null || :
		done
		n=0
		while [ $n -lt 30 ] && any_alive; do
			sleep 0.1
			n=$((n + 1))
		done
	done
	[ -n "${HOTPATCH_KEEP:-}" ] && say "kept $work" || rm -rf "$work"
	exit $code
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

any_alive() {
	for pid in $started; do
		case $(ps -o stat= -p "$pid" 2>/dev/null) in "" | Z*) ;; *) return 0 ;; esac
	done
	return 1
}
children() { cat "/proc/$1/task/$1/children" 2>/dev/null || :; }

[ -x "$HOTPATCH" ] || fail "no tool at $HOTPATCH (make build, or set HOTPATCH)"
HOTPATCH=$(cd "$(dirname "$HOTPATCH")" && pwd)/$(basename "$HOTPATCH")
tools=${HOTPATCH_TOOLS:-$work/tools}
if [ ! -x "$tools/load" ]; then
	mkdir -p "$tools"
	(cd "$root" && go build -o "$tools/" ./test/e2e/load ./test/e2e/trim) || fail "cannot build the helpers"
fi
load=$tools/load

# --- packages -------------------------------------------------------------

apt_options() { [ "$(id -u)" = 0 ] && echo "-o APT::Sandbox::User=root" || :; }

# offers PACKAGE: what apt knows of it. A fresh machine has no package lists yet.
offers() {
	known=$(LC_ALL=C apt-cache madison "$1")
	if [ -z "$known" ] && [ "$(id -u)" = 0 ]; then
		apt-get -qq update >/dev/null || fail "apt-get update"
		known=$(LC_ALL=C apt-cache madison "$1")
	fi
	echo "$known"
}

# fetch PACKAGE VERSION: the .deb's path. Skips when the archive has no such
# version; an archive that cannot be reached is a failure.
fetch() {
	mkdir -p "$cache"
	for deb in "$cache/$1_$(echo "$2" | sed 's/:/%3a/g')"_*.deb; do
		[ -f "$deb" ] && dpkg-deb -f "$deb" Version | grep -qxF "$2" && echo "$deb" && return
	done
	offers "$1" | grep -qF " $2 " || return 77
	tmp=$(mktemp -d "$cache/.fetch-XXXXXX")
	# shellcheck disable=SC2046 # options
	if ! (cd "$tmp" && apt-get -qq $(apt_options) download "$1=$2" >&2); then
		rm -rf "$tmp"
		return 1
	fi
	mv "$tmp"/*.deb "$cache/"
	rmdir "$tmp"
	fetch "$1" "$2"
}

# package PACKAGE VERSION: sets $deb.
package() {
	set +e
	deb=$(fetch "$1" "$2")
	code=$?
	set -e
	[ $code = 77 ] && skip "the archive does not have $1 $2"
	[ $code = 0 ] || fail "cannot fetch $1 $2"
}

# has PACKAGE VERSION: the archive (or the cache) has it.
has() { fetch "$1" "$2" >/dev/null; }

# newest PACKAGE: sets $deb to the newest version there is.
newest() {
	version=$(offers "$1" | awk -F'|' 'NR == 1 { gsub(/ /, "", $2); print $2 }')
	[ -n "$version" ] || fail "apt does not know $1"
	package "$1" "$version"
}

# libraries DIR PACKAGE...: unpacks into DIR the named library packages, in
# their newest version, that are not installed.
libraries() {
	dir=$1
	shift
	for lib; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$lib" 2>/dev/null) in installed) continue ;; esac
		newest "$lib"
		dpkg-deb -x "$deb" "$dir"
	done
}

# library_path DIR: for LD_LIBRARY_PATH.
library_path() { echo "$1/usr/lib/x86_64-linux-gnu:$1/lib/x86_64-linux-gnu"; }

# --- processes ------------------------------------------------------------

# start COMMAND...: in the background, output to daemon.log; sets $pid.
start() {
	"$@" >>"$work/daemon.log" 2>&1 &
	pid=$!
	started="$pid $started"
}

free_port() { "$load" port; }

# listening PORT: waits for it.
listening() { "$load" wait "127.0.0.1:$1" || fail "nobody listens on port $1"; }

# load_on KIND TARGET...: starts a load that fails on any wrong answer.
load_on() {
	"$load" "$@" >"$work/load-$1.out" 2>"$work/load-$1.log" &
	started="$! $started"
	loads="$! $loads"
	sleep 1
}

# load_off: ends the loads; none may have seen a failed request.
load_off() {
	for l in $loads; do
		kill -TERM "$l" 2>/dev/null || :
		wait "$l" || fail "the load saw failed requests: $(cat "$work"/load-*.out)"
	done
	loads=
	say "$(cat "$work"/load-*.out)"
}

# identity PID...: pids with their start times; a process that was replaced
# under the same pid would differ.
identity() {
	for p; do
		sed 's/.*) //' "/proc/$p/stat" | awk -v p="$p" '{ print p, $20 }' || fail "process $p has ended"
	done
}

# --- hotpatches -----------------------------------------------------------

# build BASE FIXED FILE [OPTION...]: builds and, where it needs review, accepts.
build() {
	b=$1 f=$2 out=$3
	shift 3
	set +e
	"$HOTPATCH" build "$b" "$f" -o "$out" --json "$@" >"$work/build.json" 2>"$work/build.log"
	code=$?
	set -e
	case $code in
	0) [ -f "$out" ] || fail "build wrote nothing: $(verdict)" ;;
	4) "$HOTPATCH" review "$out" --accept "end-to-end test" >>"$work/build.log" 2>&1 || fail "review --accept: exit code $?" ;;
	*) fail "build: exit code $code, $(verdict)" ;;
	esac
	say "built: $(verdict), $(wc -c <"$out") bytes"
}

verdict() { tr -d '\n' <"$work/build.json" | sed -n 's/.*"verdict": *"\([a-z]*\)".*/verdict \1/p' | head -1; }

pid_options() {
	for p; do printf -- '--pid %s ' "$p"; done
}

# change apply|revert FILE OUTCOME PID...: in these processes and no others.
change() {
	verb=$1 file=$2 want=$3
	shift 3
	# shellcheck disable=SC2046 # options
	"$HOTPATCH" "$verb" "$file" $(pid_options "$@") --wait 30s --json >"$work/$verb.json" 2>"$work/$verb.log" ||
		fail "$verb: exit code $?: $(tr -s ' \n' ' ' <"$work/$verb.json")"
	n=$(grep -cE "\"outcome\": *\"$want\"" "$work/$verb.json" || :)
	[ "$n" = $# ] || fail "$verb: $n of $# processes are $want: $(tr -s ' \n' ' ' <"$work/$verb.json")"
	say "$want in $n of $n: paused $(sed -n 's/.*"paused_us": *\([0-9]*\).*/\1/p' "$work/$verb.json" | paste -sd' ' -) µs"
}

# carries N PID...: status finds N applied hotpatches in each of the processes.
carries() {
	n=$1
	shift
	for p; do
		"$HOTPATCH" status --pid "$p" --json >"$work/status.json" 2>"$work/status.log" || :
		got=$(grep -cE '"state": *"applied"' "$work/status.json" || :)
		[ "$got" = "$n" ] || fail "status of $p tells of $got applied hotpatches, not $n: $(tr -s ' \n' ' ' <"$work/status.json")"
	done
}

# cycle FILE PID...: apply, revert, apply again, under the load that is running.
cycle() {
	file=$1
	shift
	before=$(identity "$@")
	change apply "$file" applied "$@"
	carries 1 "$@"
	sleep 2
	change revert "$file" reverted "$@"
	carries 0 "$@"
	sleep 1
	change apply "$file" applied "$@"
	carries 1 "$@"
	sleep 2
	[ "$(identity "$@")" = "$before" ] || fail "the processes are not the same: $before, now $(identity "$@")"
}

# trimmed FILE PID...: takes out of FILE what stays on the stacks of these
# processes all the time (main, event loops), and accepts it again.
trimmed() { "$tools/trim" "$@" 2>"$work/trim.log" >&2 || fail "trim: exit code $?"; }

# host_ends PID: ends one of our own host programs; it says how much it did, and
# its exit code whether all of it was right.
host_ends() {
	kill -TERM "$1" 2>/dev/null || :
	wait "$1" || fail "the host program: exit code $?"
	say "$(tail -n 1 "$work/daemon.log")"
}
