# The repository and the archive of the story that run.sh and faults.sh tell;
# read, not run.

fixed_version() { newest "$1"; }

# make_archive puts the fixed packages into an archive inside the host, which is
# all that its apt knows.
make_archive() {
	mkdir -p "$root/srv/archive"
	kept=
	for p in $updated; do
		old=$(version_in_root "$p")
		new=$(fixed_version "$p")
		[ "$old" != "$new" ] || kept="$kept $p"
		f=$(get_deb "$p" "$new") || fail "fetch $p $new"
		cp "$f" "$root/srv/archive/"
	done
	[ -z "$kept" ] || say "note: no update is pending for$kept"
	(cd "$root/srv/archive" && dpkg-scanpackages . /dev/null 2>/dev/null >Packages)
	rm -f "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
	echo "deb [trusted=yes] file:/srv/archive ./" >"$root/etc/apt/sources.list"
}

# make_repository publishes the hotpatches.
make_repository() {
	make_baseline
	add_update host-update
	publish
}

# make_hotpatches builds them, once for each build of the tool. What the archive has
# today may be an update that cannot be hotpatched: it is no part of the story then.
make_hotpatches() {
	same= refused=
	built=$cache/bundles-$(sha256sum "$HOTPATCH" | cut -c1-16)
	if [ -d "$built" ]; then
		cp -r "$built" "$work/bundles"
		same=$(cat "$built/same") refused=$(cat "$built/refused")
		leave_out
		return
	fi
	mkdir "$work/bundles"
	for p in nginx redis-tools memcached haproxy libpng16-16; do
		old=$(get_deb "$p" "$(version_in_root "$p")") || fail "fetch the old $p"
		new=$(get_deb "$p" "$(fixed_version "$p")")
		code=0
		"$HOTPATCH" build "$old" "$new" -o "$work/bundles/$p.hotpatch" >"$work/build-$p.txt" 2>&1 || code=$?
		case $code in
		0 | 4) ;;
		3) refused="$refused $p"; continue ;;
		*) cat "$work/build-$p.txt" >&2; fail "build $p" ;;
		esac
		[ -f "$work/bundles/$p.hotpatch" ] || { say "$p: nothing to patch in memory"; same="$same --same $p"; continue; }
		[ $code = 0 ] || "$HOTPATCH" review "$work/bundles/$p.hotpatch" --accept "the test's own update" --by tester >/dev/null || fail "accept $p"
	done
	echo "$same" >"$work/bundles/same"
	echo "$refused" >"$work/bundles/refused"
	leave_out
	rm -rf "$cache"/bundles-*
	cp -r "$work/bundles" "$built.new" && mv "$built.new" "$built"
}

# leave_out takes what was refused, and what is of one source with it, from updated.
leave_out() {
	for r in $refused; do
		say "note: today's update of $r cannot be hotpatched; it stays as it is"
		case $r in
		nginx) r="nginx nginx-common" ;;
		redis-tools) r="redis-server redis-tools" ;;
		esac
		for x in $r; do updated=$(echo " $updated " | sed "s/ $x / /"); done
	done
	ls "$work"/bundles/*.hotpatch >/dev/null 2>&1 || fail "none of today's updates can be hotpatched"
}

# repository runs commands and shows what they said only when one fails.
repository() { "$@" >"$work/repo.log" 2>&1 || { cat "$work/repo.log" >&2; fail "make the repository"; }; }

# make_baseline makes a repository with a baseline: what is in the host now.
make_baseline() {
	HOTPATCH_PASSPHRASE=open HOTPATCH_REPO=$work/repo HOTPATCH_KEYS=$work/keys
	export HOTPATCH_PASSPHRASE HOTPATCH_REPO HOTPATCH_KEYS
	baseline() {
		"$HOTPATCH" repo init --name test --channels stable --work-factor 10
		only=$(echo $updated | tr ' ' ,)
		"$HOTPATCH" repo baseline create host-baseline --from host --root "$root" --only "$only" --available "$(date -u -d '30 days ago' +%F)"
		approve host-baseline
	}
	repository baseline
}

# add_update RELEASE publishes all hotpatches as one release.
add_update() {
	update() {
		# shellcheck disable=SC2046,SC2086 # files and options of ours
		"$HOTPATCH" repo add "$1" $same "$work"/bundles/*.hotpatch $(ls "$root"/srv/archive/*.deb) --available "$(date -u -d yesterday +%F)"
		approve "$1"
		"$HOTPATCH" repo verify
	}
	repository update "$1"
}

# approve RELEASE previews, approves and publishes a draft.
approve() {
	digest=$("$HOTPATCH" repo preview "$1" --json | field .digest)
	"$HOTPATCH" repo approve "$1" --by tester --reason "the test says so" --preview "$digest"
	"$HOTPATCH" repo publish "$1"
}

# publish [DIR] copies what a web server would serve into the host.
publish() {
	rm -rf "$root/srv/repo.new"
	cp -r "${1:-$work/repo/public}" "$root/srv/repo.new"
	rm -rf "$root/srv/repo"
	mv "$root/srv/repo.new" "$root/srv/repo"
	cp "$work/repo/public/metadata/1.root.json" "$root/srv/root.json"
}

# put_png_user adds a service that uses libpng.
put_png_user() {
	lib=$(find "$root/usr/lib" -name 'libpng16.so.16' | head -n 1)
	gcc -O1 "$here/png.c" "$lib" -lm -o "$root/usr/local/bin/png-user" -Wl,--allow-shlib-undefined || fail "compile png.c"
	cat >"$root/etc/systemd/system/png.service" <<'U'
[Service]
ExecStart=/usr/local/bin/png-user
[Install]
WantedBy=multi-user.target
U
	ln -sf ../png.service "$root/etc/systemd/system/multi-user.target.wants/png.service"
}

# put_package lays the package ready, and a policy that looks often.
put_package() {
	cp "$HOTPATCH_DEB" "$root/srv/hotpatch.deb"
	mkdir -p "$root/etc/hotpatch"
	policy "" ""
}

# policy FIELDS TABLES writes a policy that looks often, with these besides.
policy() {
	cat >"$root/etc/hotpatch/policy.new" <<T
repository = "${repository:-file:///srv/repo}"
soak = "${soak:-30s}"
$1
[assess]
every = "${every:-3s}"
jitter = "1ms"
$2
T
	mv "$root/etc/hotpatch/policy.new" "$root/etc/hotpatch/policy.toml"
}

# pids are the processes that must stay: name, pid and start time of each.
pids() {
	in_host sh -c 'for d in /proc/[0-9]*; do
		read -r name 2>/dev/null <$d/comm || continue
		case $name in nginx | redis-server | memcached | haproxy | png-user)
			echo $name ${d#/proc/} $(cut -d" " -f22 $d/stat) ;;
		esac
	done | sort'
}

# serving asks every service something.
serving() {
	in_host bash -c '
		set -e
		ask() { exec 3<>/dev/tcp/127.0.0.1/$1; printf "$2" >&3; read -t 5 line <&3; exec 3>&-; case "$line" in $3*) ;; *) echo "port $1 said $line" >&2; exit 1;; esac; }
		ask 80 "GET / HTTP/1.0\r\n\r\n" "HTTP/1.1 200"
		ask 6379 "PING\r\n" "+PONG"
		ask 11211 "version\r\n" "VERSION"
	' || fail "a service does not serve"
	in_host systemctl is-active --quiet haproxy png || fail "haproxy or the libpng user is gone"
}
