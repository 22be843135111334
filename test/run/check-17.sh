#!/bin/bash
#
# make check-17: the same checks on PostgreSQL 17, in a chroot of Debian 13.
# The chroot is made once, from the mirror this machine uses, and kept in
# OG_CHROOT; each run works on its own copy of the tree in there.
#
# All mounts are made in a mount namespace of our own: they are gone when
# the last process of the run is.
# shellcheck disable=SC1091,SC2016
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CHROOT=${OG_CHROOT:-/var/cache/order_guard/trixie}
SUITE=trixie
KEEP_ENV=TESTS,PROVE_TESTS,DEBUG_FAULTS,OG_CHROOT,OG_TEST_TIMEOUT
PACKAGES="postgresql-17 postgresql-server-dev-17 libkrb5-dev libipc-run-perl
perl make gcc"

become_root()
{
	og_is_root && return
	og_can_be_root || og_fail "needs root, or sudo without a password"
	exec sudo -n --preserve-env="$KEEP_ENV" \
		"$BASH" "$0" "$@"
}

own_mounts()
{
	[ -z "${OG_OWN_MOUNTS:-}" ] || return 0
	OG_OWN_MOUNTS=1 exec unshare --mount --propagation private \
		"$BASH" "$0" "$@"
}

need_debootstrap()
{
	local missing
	missing=$(og_missing_packages debootstrap debian-archive-keyring |
		tr '\n' ' ')
	[ -n "$missing" ] || return 0
	og_apt_get update
	# shellcheck disable=SC2086
	og_apt_get install --no-install-recommends $missing
}

# The address this machine fetches its own release from.
mirror()
{
	local codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	apt-get indextargets \
		--format '$(RELEASE) $(COMPONENT) $(REPO_URI)' \
		'Identifier: Packages' |
		awk -v name="$codename" '$2 == "main" &&
			($1 == name || $1 == "stable" || $1 == "testing") {
				print $3; exit }'
}

use_apt_proxy()
{
	local proxy=
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then
		export http_proxy=${http_proxy:-$proxy}
	fi
}

in_chroot()
{
	chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
		HOME=/root DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} "${@:2}"
}

mount_in()
{
	mount -t proc proc "$1/proc"
	mkdir -p "$1/dev/shm"
	mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
}

# Made beside its final place, so that a half-made one is never used.
make_chroot()
{
	local new=$CHROOT.new uri

	uri=$(mirror)
	[ -n "$uri" ] || og_fail "no Debian mirror in this machine's apt sources"
	echo "making $CHROOT (once)"
	rm -rf "$new"
	mkdir -p "$new"
	debootstrap --variant=minbase "$SUITE" "$new" "$uri" \
		>"$CHROOT.log" 2>&1
	mount_in "$new"
	cp /etc/resolv.conf "$new/etc/resolv.conf"
	printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
	chmod 755 "$new/usr/sbin/policy-rc.d"
	mkdir -p "$new/etc/postgresql-common"
	echo 'create_main_cluster = false' \
		>"$new/etc/postgresql-common/createcluster.conf"
	in_chroot "$new" apt-get -qq update >>"$CHROOT.log" 2>&1
	# shellcheck disable=SC2086
	in_chroot "$new" apt-get -qq -y --no-install-recommends \
		-o Dpkg::Options::=--force-confold install $PACKAGES \
		>>"$CHROOT.log" 2>&1
	in_chroot "$new" apt-get clean
	umount "$new/dev/shm" "$new/proc"
	mv "$new" "$CHROOT"
}

have_chroot()
{
	mkdir -p "$(dirname "$CHROOT")"
	exec 9>"$CHROOT.lock"
	flock -n 9 || {
		echo "check-17: waiting for another run to end"
		flock 9
	}
	if [ ! -d "$CHROOT" ]; then
		need_debootstrap
		trap 'tail -n 20 "$CHROOT.log"' EXIT
		make_chroot
		trap - EXIT
	fi
	exec 9>&-
}

run_check()
{
	copy=$(mktemp -d "$CHROOT/tmp/src.XXXXXX")
	trap 'rm -rf "$copy"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	og_copy_source "$copy"
	mount_in "$CHROOT"
	in_chroot "$CHROOT" env TESTS="${TESTS:-}" \
		PROVE_TESTS="${PROVE_TESTS:-}" DEBUG_FAULTS="${DEBUG_FAULTS:-}" \
		OG_TEST_TIMEOUT="${OG_TEST_TIMEOUT:-}" \
		"${copy#"$CHROOT"}/test/run/check.sh" |
		sed -u 's/^[0-9]* passed, [0-9]* failed$/check-17: &/'
}

become_root "$@"
own_mounts "$@"
use_apt_proxy
have_chroot
run_check
