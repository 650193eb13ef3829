#!/bin/sh
# Installs what tests, demo and benchmarks need and is missing; says so when it
# may not. Debian package names; the product itself needs none of them. With the
# word "host" also what boots a Debian of its own (test/host).
set -eu

missing=
need() { # command package
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
command -v go >/dev/null 2>&1 || { echo "setup: Go 1.26 or later is needed (https://go.dev/dl)" >&2; exit 1; }
need gcc gcc
need g++ g++
need gcc-11 gcc-11 # another compiler than that of Debian 12
need g++-11 g++-11
need objdump binutils
need gdb gdb
need dwz dwz
need setpriv util-linux
need dpkg-deb dpkg
need systemctl systemd
need service init-system-helpers
dpkg -s build-essential >/dev/null 2>&1 || missing="$missing build-essential"
if [ "${1:-}" = host ]; then
	need mmdebstrap mmdebstrap
	need systemd-nspawn systemd-container
	need dpkg-scanpackages dpkg-dev
	need python3 python3
	need nsenter util-linux
fi
printf '#include <stdio.h>\n' | gcc -E - >/dev/null 2>&1 || missing="$missing libc6-dev"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "setup: missing:$missing" >&2
	echo "setup: tests that need them are skipped; as root: apt-get install$missing" >&2
	exit 0
fi
echo "setup: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of names
apt-get install -qq -y --no-install-recommends $missing >/dev/null 2>&1 ||
	{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing >/dev/null; }
