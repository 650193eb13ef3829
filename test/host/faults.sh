#!/bin/sh
# What goes wrong around a host that keeps itself patched, on the host of run.sh:
#
#   - metadata that is truncated, damaged, signed by others, expired, rolled back
#   - a repository that accepts and never answers; orders meanwhile
#   - a release that is staged, waits for its window, and is recalled
#   - a full disk; a policy that cannot be read
#   - suspended in the middle
#   - the agent and its children killed at fixed moments of an update
#   - a power cut at such moments
#   - an installation that somebody else left half done
#   - a service that crashes within the soak of its hotpatch
#
# Afterwards the host is where it should be by itself, nothing was applied that
# should not be, no service was restarted, and host status says what is the case.
. "$(dirname "$0")/lib.sh"
. "$here/story.sh"

started=$(date +%s)
step() { say "[$(($(date +%s) - started)) s] $*"; }
# shows TEXT waits until host status says so, and fails with all it says.
says() { in_host hotpatch host status 2>&1 | tee "$work/status.txt" | grep -q -- "$1"; }
shows() { wait_for "${2:-30}" "host status to say \"$1\": $(cat "$work/status.txt" 2>/dev/null)" says "$1"; }
fresh() { # a round of the agent that began after this moment
	at=$(status .at)
	later() { [ "$(status .at)" != "$at" ]; }
	wait_for 30 "another assessment" later
}
patched() { in_host hotpatch status --json 2>/dev/null | grep -c '"applied"' || :; }
# untouched: neither disk nor memory has anything of the update.
untouched() {
	for p in $updated; do
		[ "$(version_in_root "$p")" = "$(cat "$work/version.$p")" ] || fail "$1: $p was installed"
	done
	[ "$(patched)" = 0 ] || fail "$1: a process was patched"
}
whole() {
	[ -z "$(in_host dpkg --audit)" ] || fail "$1: dpkg is not whole: $(in_host dpkg --audit)"
	for p in $updated; do
		[ "$(version_in_root "$p")" = "$(fixed_version "$p")" ] || fail "$1: $p on disk is not the fixed version"
	done
	[ ! -e "$root/usr/sbin/policy-rc.d" ] || fail "$1: the guard that keeps services from starting is still up"
}
install_agent() {
	in_host apt-get install -qq -y /srv/hotpatch.deb >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2; fail "install the package"; }
	in_host hotpatch host enroll file:///srv/repo --root /srv/root.json >/dev/null || fail "enroll"
}
current_with() { [ "$(status .track.state)" = current ] && [ "$(status .track.hotpatch)" = "$1" ]; }

make_root
make_hotpatches
make_archive
for p in $updated; do version_in_root "$p" >"$work/version.$p"; done
make_hotpatches
make_baseline
cp -r "$work/repo/public" "$work/p0"
put_png_user
put_package
mkdir -p "$root/etc/systemd/system/hotpatch-agent.service.d" "$root/etc/systemd/system/hang.service.d"
printf '[Service]\nRestartSec=100ms\n' >"$root/etc/systemd/system/hotpatch-agent.service.d/test.conf"
# A server that accepts and never answers: systemd listens, and nobody accepts.
printf '[Socket]\nListenStream=127.0.0.1:8099\n' >"$root/etc/systemd/system/hang.socket"
printf '[Service]\nExecStart=/bin/sleep infinity\n' >"$root/etc/systemd/system/hang.service"
publish "$work/p0"
cp -a "$root" "$work/second" # another host, for the power cuts
mkdir -p "$root/var/lib/hotpatch"
mount -t tmpfs -o size=64m,mode=700 hotpatch "$root/var/lib/hotpatch"
every=1s soak=10m
policy "" ""
mkdir -p "$root/etc/systemd/system/png.service.d"
printf '[Service]\nRestart=always\nRestartSec=100ms\n' >"$root/etc/systemd/system/png.service.d/test.conf"
power_on
in_host systemctl start hang.socket
install_agent
wait_for 30 "the host to be current on its baseline" current_with ""
before=$(pids)
step "current on the baseline"

# --- A release that waits for its window is staged; recalled, it is gone.
tomorrow=$(date -u -d tomorrow +%F)
policy 'hotpatches = "in-window"' "[[window]]
name = \"tomorrow\"
rule = \"FREQ=DAILY\"
from = \"$tomorrow\"
at = \"12:00\"
for = \"1h\"
in = \"UTC\""
add_update host-early
publish
wait_for 30 "the early release to be staged" is .track.state staged
shows "host-early is staged"
[ -n "$(ls "$root/var/lib/hotpatch/staged")" ] || fail "nothing is staged"
repository "$HOTPATCH" repo recall host-early --reason "the test takes it back"
cp -r "$work/repo/public" "$work/p2"
publish
wait_for 30 "the host to be current without it" is .track.state current
[ -z "$(ls "$root/var/lib/hotpatch/staged")" ] || fail "a recalled release is still staged"
untouched "a recalled release"
policy "" ""
fresh
untouched "a recalled release"
step "recalled while staged: purged, never applied"

# --- Metadata that cannot be believed. The update lies behind each.
add_update host-update
cp -r "$work/repo" "$work/short" # whose word runs out soon
sed -i 's/"timestamp": "[^"]*"/"timestamp": "1m"/' "$work/short/repo.json"
(HOTPATCH_REPO=$work/short repository "$HOTPATCH" repo refresh)
runs_out=$(($(date +%s) + 61))
last=
bad() { # bad WHAT WORDS: what is in $work/bad is served
	publish "$work/bad"
	refused() { e=$(status .repository.error) && [ "$e" != "$last" ] && echo "$e" | grep -qE "$1"; }
	wait_for 30 "$1 to be refused" refused "$2"
	last=$(status .repository.error)
	fresh
	[ "$(status .track.state)" = current ] || fail "$1: the host is $(status .track.state)"
	untouched "$1"
	rm -rf "$work/bad"
}
copy() { cp -r "$work/repo/public" "$work/bad"; }
for role in timestamp snapshot stable; do # of the targets role there is nothing new to read
	copy
	for f in "$work"/bad/metadata/*"$role".json; do truncate -s -20 "$f"; done
	bad "truncated $role" "refuse $role"
done
copy
python3 - "$work/bad/metadata/timestamp.json" <<'P'
import json, sys
doc = json.load(open(sys.argv[1]))
s = doc["signatures"][0]
s["sig"] = ("0" if s["sig"][0] != "0" else "1") + s["sig"][1:]
json.dump(doc, open(sys.argv[1], "w"))
P
bad "a wrong signature" "refuse timestamp.*(sign|verif)"
(HOTPATCH_REPO=$work/other HOTPATCH_KEYS=$work/otherkeys repository "$HOTPATCH" repo init --name test --channels stable --work-factor 10)
last= # the words are the same
cp -r "$work/other/public" "$work/bad"
bad "another's repository" "refuse (root|timestamp)"
step "metadata that is truncated, damaged, another's: nothing taken, the old state holds"

# --- A repository that hangs; orders are taken meanwhile.
repository=http://127.0.0.1:8099/ policy "" ""
sleep 3
t=$(date +%s)
in_host hotpatch host suspend >/dev/null || fail "suspend while the repository hangs"
[ "$(status .intent)" = suspended ] || fail "not suspended"
in_host hotpatch host resume >/dev/null || fail "resume while the repository hangs"
[ $(($(date +%s) - t)) -le 5 ] || fail "orders waited for a repository that hangs"
policy 'hotpatches = "at-onec"' ""
step "a repository that hangs keeps nobody waiting"

# --- A policy that cannot be read changes nothing, also over a restart.
in_host systemctl restart hotpatch-agent.service
shows "at-onec"
is .track.state current || fail "the host is $(status .track.state)"
step "an unreadable policy: told, the last one holds"

# --- A repository whose word has run out.
left=$((runs_out - $(date +%s)))
[ $left -le 0 ] || sleep $left
policy "" ""
cp -r "$work/short/public" "$work/bad"
bad "an expired repository" "expire"
repository "$HOTPATCH" repo refresh # to be newer than that
repository "$HOTPATCH" repo refresh
step "an expired repository: nothing is taken from it"

# --- Suspended in the middle, and a full disk.
policy "" '[hooks]
pre = "touch /run/hook; sleep 2"'
publish
wait_for 30 "the pre-hook" test -e "/proc/$init/root/run/hook"
in_host hotpatch host suspend >/dev/null || fail "suspend"
wait_for 20 "the run to be cancelled" sh -c "nsenter -t $init -a hotpatch host history --runs --most 1 --json | grep -q cancelled"
untouched "suspended"
dd if=/dev/zero of="$root/var/lib/hotpatch/ballast" bs=1M 2>/dev/null || :
policy "" ""
in_host hotpatch host resume >/dev/null 2>&1 && say "note: resumed on a full disk"
fresh
untouched "a full disk"
in_host hotpatch host status || fail "no status on a full disk"
rm "$root/var/lib/hotpatch/ballast"
[ "$(status .intent)" = enrolled ] || in_host hotpatch host resume >/dev/null || fail "resume"
step "suspended in the middle, and a full disk: nothing was changed"

# --- The agent and its children are killed, again and again, within one update.
soon() { # soon SECONDS WHAT TEST...: as wait_for, and looks all the time
	end=$(($(date +%s) + $1 * ${HOTPATCH_PATIENCE:-1})) what=$2
	shift 2
	until "$@"; do [ "$(date +%s)" -lt "$end" ] || fail "the moment \"$what\" did not come"; done
}
# One of them may be gone before its turn: that is no failure.
kill_agent() { in_host systemctl kill --kill-whom=all --signal=KILL hotpatch-agent.service 2>/dev/null || :; }
moment() { # moment WHAT TEST...
	soon 60 "$@"
	kill_agent
	say "killed: $what"
}
policy "" '[hooks]
pre = "sleep 0.3"'
in_host systemctl restart hotpatch-agent.service
some_staged() { [ -n "$(ls "$root/var/lib/hotpatch/staged" 2>/dev/null)" ]; }
dpkg_works() { [ -e "$root/var/lib/hotpatch/deb/job.json" ]; }
first_installed() { [ "$(version_in_root memcached)" != "$(cat "$work/version.memcached")" ] || [ "$(version_in_root libpng16-16)" != "$(cat "$work/version.libpng16-16")" ]; }
on_disk() { ! dpkg_works && first_installed; }
some_patched() { [ "$(patched)" != 0 ]; }
moment "staged" some_staged
moment "dpkg begins" dpkg_works
sleep 0.3
moment "dpkg works" dpkg_works
moment "between disk and memory" on_disk
moment "in memory, not verified" some_patched
wait_for 60 "the host to be current after all that" current_with host-update
whole "killed"
serving
[ "$(pids)" = "$before" ] || fail "processes changed:
$before
---
$(pids)"
in_host hotpatch host status
step "killed five times within an update: current, the same processes serve"

# --- Somebody else's installation was interrupted.
in_host dpkg --unpack "/srv/archive/$(basename "$(get_deb memcached "$(fixed_version memcached)")")" >/dev/null 2>&1 || fail "dpkg --unpack"
finished() { [ -z "$(in_host dpkg --audit)" ]; }
wait_for 30 "dpkg to be whole" finished
whole "half an installation"
[ "$(pids)" = "$before" ] || fail "finishing somebody's installation restarted something"
step "an installation that was left half done is finished, nothing restarted"

# --- An older repository, validly signed.
publish "$work/p2"
shows "not reached" 20
current_with host-update || fail "rolled back: the host is $(status .words)"
publish
wait_for 20 "the repository to be back" is .repository.error ""
step "a rolled-back repository is refused"

# --- A patched service crashes within its soak.
in_host systemctl kill --kill-whom=main --signal=SEGV png.service
wait_for 30 "the release to be barred" is .bars.0.release host-update
shows "barred"
gone() { [ "$(patched)" = 0 ]; }
wait_for 20 "the hotpatch to be out of every process" gone
in_host hotpatch host history | grep -q incident || fail "no incident in the history"
in_host hotpatch host status
fresh
[ "$(patched)" = 0 ] || fail "a barred release came back"
in_host hotpatch host allow host-update >/dev/null || fail "allow"
wait_for 60 "the release to come back" current_with host-update
serving
step "a crash within the soak: taken back, barred, and back when allowed"
power_off
umount "$root/var/lib/hotpatch"
rm -rf "$root"
root=$work/second

# --- The power goes, within an update, on another host.
cut() { # cut WHAT TEST...
	soon 60 "$@"
	power_off
	say "power cut: $what"
	power_on
}
policy "" '[hooks]
pre = "sleep 0.3"'
publish
power_on
install_agent
cut "staged" some_staged
cut "dpkg begins" dpkg_works
cut "dpkg works, at random" sleep "0.$(awk 'BEGIN { srand(); printf "%02d", rand() * 100 }')"
wait_for 60 "the host to be current after the power cuts" current_with host-update
whole "power cuts"
serving
in_host hotpatch host status
step "three power cuts within an update: current, whole"
echo "PASS host faults"
