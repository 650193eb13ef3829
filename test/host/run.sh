#!/bin/sh
# A host that keeps itself patched: a minimal Debian with older services, a
# repository made by the product's own commands from the real security updates,
# and the agent at work. What is shown:
#
#   - installing and enrolling takes three commands
#   - the agent applies the updates: disk and memory are fixed, the same
#     processes serve, nothing was restarted
#   - apt has nothing left for those packages; a scanner reads "fixed" from VEX
#   - a restart of a service loads the fixed file
#   - a power cut in the middle loses nothing: see faults.sh
. "$(dirname "$0")/lib.sh"
. "$here/story.sh"

make_root
make_hotpatches
make_archive
make_repository
put_png_user
put_package
power_on
say "the host is up: $(in_host uname -n)"
for unit in nginx redis-server memcached haproxy png; do
	in_host systemctl is-active --quiet $unit || fail "$unit does not run on the old version"
done
before=$(pids)

# Three commands.
in_host apt-get install -qq -y /srv/hotpatch.deb >"$work/install.log" 2>&1 || { cat "$work/install.log" >&2; fail "install the package"; }
in_host hotpatch host enroll file:///srv/repo --root /srv/root.json || fail "enroll"
in_host hotpatch host status || fail "status"

wait_for 180 "the host to be current with its hotpatch" is .track.state current
wait_for 60 "the hotpatch" is .track.hotpatch host-update
in_host hotpatch host status
in_host hotpatch status

[ "$(pids)" = "$before" ] || fail "processes changed:
$before
---
$(pids)"
serving
say "the same processes serve"

left=$(in_host apt-get -s -qq upgrade 2>/dev/null | grep '^Inst' || :)
[ -z "$left" ] || fail "apt still wants: $left"
for p in $updated; do
	[ "$(in_host dpkg-query -W -f '${Version}' "$p")" = "$(fixed_version "$p")" ] || fail "$p on disk is not the fixed version"
done
say "disk: every package is fixed, apt has nothing left"

in_host hotpatch host scan --json >"$work/scan.json"
in_host hotpatch host vex >"$work/vex.json"
python3 - "$work/vex.json" <<'P' || fail "the VEX document"
import collections, json, sys
doc = json.load(open(sys.argv[1]))
n = collections.Counter(s["status"] for s in doc["statements"])
print("VEX:", dict(n), file=sys.stderr)
bad = [s for s in doc["statements"] if s["status"] not in ("fixed", "not_affected")]
for s in bad: print(s, file=sys.stderr)
sys.exit(bool(bad) or n["fixed"] == 0)
P
in_host hotpatch host oval >"$work/oval.xml"
# shellcheck disable=SC2046 # words of ours
python3 - "$work/oval.xml" $(for p in $updated; do echo "$p=$(fixed_version "$p")"; done) <<'P' || fail "the OVAL document"
import sys, xml.etree.ElementTree as ET
ns = "{http://oval.mitre.org/XMLSchema/oval-system-characteristics-5#linux}"
have = {i.find(ns + "name").text: i.find(ns + "evr").text for i in ET.parse(sys.argv[1]).iter(ns + "dpkginfo_item")}
print("OVAL:", len(have), "packages", file=sys.stderr)
want = {n: v if ":" in v else "0:" + v for n, v in (a.split("=", 1) for a in sys.argv[2:])}
bad = {n: (have.get(n), v) for n, v in want.items() if have.get(n) != v}
print(bad or "", end="", file=sys.stderr)
sys.exit(bool(bad))
P
in_host hotpatch host why-restart
in_host hotpatch host forecast
in_host hotpatch host history
[ "$(in_host hotpatch host history --runs --json | field .0.state)" = succeeded ] || fail "the run did not succeed"

# A restart loads the fixed file.
in_host systemctl restart redis-server
serving
wait_for 20 "an assessment after the restart" is .track.state current
in_host hotpatch status --json >"$work/after.json"
pid=$(in_host systemctl show -p MainPID --value redis-server)
grep -q "\"pid\": $pid,[^}]*\"applied\"" "$work/after.json" && fail "a process of the fixed file carries a hotpatch"
[ "$(in_host sha256sum "/proc/$pid/exe" | cut -c1-64)" = "$(in_host sha256sum /usr/bin/redis-check-rdb | cut -c1-64)" ] ||
	fail "the restarted redis does not run the file on disk"
say "a restarted service runs the fixed file"
echo "PASS host"
