# shellcheck shell=bash disable=SC2164,SC2209
#
# lib.sh: what the scripts that set up a test share.  Source it.
#
#   og_packages          install what is missing to build and test; when it
#                        may not (neither root nor passwordless sudo), print
#                        the one apt-get line and exit 1
#   og_private_shm "$@"  as root: start the calling script again with its own
#                        /dev/shm, so that the journals of its servers are
#                        gone when it ends.  Call it first
#   og_workdir           make the temporary folder OG_TMP, owned by the
#                        unprivileged user, removed at exit together with
#                        every server in it (OG_KEEP=1 keeps the files)
#   og_as_user CMD...    run CMD as the unprivileged user, in the current
#                        directory
#   og_limited SECONDS CMD...  the same with a time limit; a signal to the
#                        calling script ends CMD and what it started
#   og_copy_source DIR   copy the working tree to DIR
#   og_private_tree DIR  make a PostgreSQL installation of our own in DIR and
#                        put its programs first in PATH
#   og_build_install SRC build SRC and install it into that private tree
#   og_start_server DIR  make a data directory in DIR and start a server on
#                        it; PGHOST, PGPORT, PGDATABASE, PGUSER point to it.
#                        Lines of standard input go to postgresql.conf, so
#                        redirect it: </dev/null or <<'END'
#   og_open_tcp          sets OG_TCP, lines of postgresql.conf for a server that
#                        is reached by TCP, too: at OG_PORT of 127.0.0.1, with
#                        OG_PASSWORD, for the machine may have other users
#   og_stop_server DIR   stop it (a second argument is pg_ctl's mode)
#
# Nothing is written to the system's own directories, apart from packages.
# A server listens on a socket in its own folder only, so any number of runs
# can go on at the same time.
#
# Variables: OG_ROOT the repository, OG_MAJOR PostgreSQL's major version (set
# it to choose another installed one), OG_TMP, OG_BIN the private tree's
# programs, OG_PGXS its pgxs folder.

OG_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A surrounding make, or the caller's psql settings, are not ours.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGSERVICE
unset PGOPTIONS PGDATA PGCLUSTER PGTZ PGDATESTYLE PGCLIENTENCODING PGAPPNAME
export LC_ALL=C.UTF-8

og_fail()
{
	echo "$(basename "$0"): $*" >&2
	exit 1
}

og_is_root()
{
	[ "$(id -u)" -eq 0 ]
}

# Run a command as root; fails when we cannot.
og_as_root()
{
	if og_is_root; then
		"$@"
	else
		sudo -n "$@"
	fi
}

og_can_be_root()
{
	og_is_root || sudo -n true 2>/dev/null
}

# OG_EXEC=exec replaces the current (sub)shell.
og_as_user()
{
	if og_is_root; then
		${OG_EXEC:-} runuser -u postgres -- env HOME="${OG_TMP:-/}" \
			TMPDIR="${OG_TMP:-/tmp}" "$@"
	else
		${OG_EXEC:-} env HOME="${OG_TMP:-/}" TMPDIR="${OG_TMP:-/tmp}" "$@"
	fi
}

# In the background, because bash handles signals only between commands or in
# "wait"; runuser and timeout pass the signal on.
og_limited()
{
	local rc=0
	OG_EXEC=exec og_as_user timeout -k 10 "$@" </dev/null &
	OG_CHILD=$!
	wait "$OG_CHILD" || rc=$?
	OG_CHILD=
	return "$rc"
}

# --- packages ---------------------------------------------------------------

# The newest installed major version that has both a server and pgxs.
og_installed_major()
{
	local dir
	for dir in /usr/lib/postgresql/*; do
		if [ -x "$dir/bin/postgres" ] && [ -d "$dir/lib/pgxs" ]; then
			basename "$dir"
		fi
	done | sort -n | tail -n 1
}

# The major version that this Debian release calls "postgresql".
og_debian_major()
{
	apt-cache depends postgresql 2>/dev/null |
		sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1
}

og_is_installed()
{
	dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null |
		grep -qx installed
}

og_missing_packages()
{
	local package
	for package in "$@"; do
		og_is_installed "$package" || echo "$package"
	done
}

# Its output is of interest only when it fails.
og_apt_get()
{
	local rc=0 log
	log=$(mktemp)
	og_as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq -y -o Dpkg::Use-Pty=0 \
		-o DPkg::Lock::Timeout=600 "$@" \
		>"$log" 2>&1 </dev/null || rc=$?
	[ "$rc" -eq 0 ] || tail -n 20 "$log" >&2
	rm -f "$log"
	return "$rc"
}

# Install packages without letting Debian's scripts create a cluster: that
# is postgresql-common's setting, put back afterwards.
og_install_packages()
{
	local conf=/etc/postgresql-common/createcluster.conf saved rc=0

	og_apt_get update || return 1
	og_is_installed postgresql-common ||
		og_apt_get install --no-install-recommends postgresql-common ||
		return 1
	saved=$(mktemp)
	cp "$conf" "$saved"
	echo 'create_main_cluster = false' |
		og_as_root tee -a "$conf" >/dev/null
	og_apt_get install --no-install-recommends "$@" || rc=$?
	og_as_root cp "$saved" "$conf"
	rm -f "$saved"
	return "$rc"
}

og_packages()
{
	local missing

	: "${OG_MAJOR:=$(og_installed_major)}"
	: "${OG_MAJOR:=$(og_debian_major)}"
	if [ -z "$OG_MAJOR" ] && og_can_be_root; then
		og_apt_get update
		OG_MAJOR=$(og_debian_major)
	fi
	[ -n "$OG_MAJOR" ] ||
		og_fail "no PostgreSQL found; run: apt-get update"
	# PostgreSQL's libpq-be.h includes Kerberos' headers, but its -dev
	# package does not depend on them.
	missing=$(og_missing_packages "postgresql-$OG_MAJOR" \
		"postgresql-server-dev-$OG_MAJOR" libkrb5-dev libipc-run-perl \
		perl make gcc |
		tr '\n' ' ')
	[ -n "$missing" ] || return 0
	if ! og_can_be_root; then
		echo "packages are missing; run as root: apt-get install" \
			"$missing" >&2
		exit 1
	fi
	# shellcheck disable=SC2086
	og_install_packages $missing ||
		og_fail "could not install $missing"
}

# --- folders ----------------------------------------------------------------

og_private_shm()
{
	if og_is_root && [ -z "${OG_SHM_IS_PRIVATE:-}" ] &&
		unshare --mount mount -t tmpfs tmpfs /dev/shm 2>/dev/null; then
		export OG_SHM_IS_PRIVATE=1
		# shellcheck disable=SC2016
		exec unshare --mount bash -c \
			'mount -t tmpfs -o mode=1777 tmpfs /dev/shm && exec "$@"' \
			- "$BASH" "$0" "$@"
	fi
}

# Stop whatever server still runs in our folder, and remove the folder.
og_cleanup()
{
	local pidfile child

	cd /
	for child in $(jobs -p); do
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	done
	if [ -n "${OG_BIN:-}" ]; then
		find "$OG_TMP" -name postmaster.pid 2>/dev/null |
			while read -r pidfile; do
				og_stop_server "${pidfile%/*}" immediate ||
					true
			done
	fi
	if [ -n "${OG_KEEP:-}" ]; then
		echo "kept $OG_TMP"
	else
		rm -rf "$OG_TMP"
	fi
}

og_workdir()
{
	# Short: a socket's path has at most 107 bytes.
	OG_TMP=$(mktemp -d "${TMPDIR:-/tmp}/og.XXXXXX")
	trap og_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	chmod 755 "$OG_TMP"
	if og_is_root; then
		chown postgres: "$OG_TMP"
	fi
	export OG_TMP
	cd "$OG_TMP"
}

og_list_source()
{
	cd "$OG_ROOT"
	if git -c safe.directory="$OG_ROOT" rev-parse --git-dir \
		>/dev/null 2>&1; then
		git -c safe.directory="$OG_ROOT" ls-files -z -co \
			--exclude-standard --deduplicate
	else
		find . -path ./.git -prune -o -type f ! -name '*.o' \
			! -name '*.so' ! -name '*.bc' -print0
	fi
}

og_copy_source()
{
	mkdir -p "$1"
	(og_list_source) |
		tar -C "$OG_ROOT" --null --ignore-failed-read --files-from=- \
			-cf - 2>/dev/null |
		tar -C "$1" --no-same-owner -xf -
	if og_is_root && id postgres >/dev/null 2>&1; then
		chown -R postgres: "$1"
	fi
}

# --- PostgreSQL -------------------------------------------------------------

# PostgreSQL's programs find their library and share folders relative to
# where they are themselves, symbolic links resolved.  So the programs are
# copied and the rest, under the same relative path, is made of links.
og_private_tree()
{
	local lib=usr/lib/postgresql/$OG_MAJOR
	local share=usr/share/postgresql/$OG_MAJOR

	og_as_user mkdir -p "$1/$lib" "$1/usr/share/postgresql"
	og_as_user cp -r "/$lib/bin" "$1/$lib/bin"
	og_as_user cp -rs "/$lib/lib" "$1/$lib/lib"
	og_as_user cp -rs "/$share" "$1/$share"
	og_as_user ln -s /usr/include "$1/usr/include"
	OG_BIN=$1/$lib/bin
	PATH=$OG_BIN:$PATH
	OG_PGXS=$(dirname "$(pg_config --pgxs)")/../..
	[ "$(pg_config --sharedir)" = "$1/$share" ] ||
		og_fail "PostgreSQL's programs cannot be moved to $1"
	export OG_BIN OG_PGXS PATH
}

# Bitcode for JIT inlining would double the time and proves nothing here.
og_build_install()
{
	og_as_user make -s -C "$1" -j "$(nproc)" with_llvm=no \
		PG_CONFIG="$OG_BIN/pg_config" all &&
		og_as_user make -s -C "$1" with_llvm=no \
			PG_CONFIG="$OG_BIN/pg_config" install
}

og_start_server()
{
	local dir=$1

	og_as_user mkdir -p "$dir"
	og_as_user initdb -A trust -N -E UTF8 --no-locale -U postgres \
		-D "$dir" >"$OG_TMP/initdb.log" 2>&1 || {
		cat "$OG_TMP/initdb.log"
		og_fail "initdb failed"
	}
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$dir'"
		echo "shared_preload_libraries = 'order_guard'"
		echo "max_prepared_transactions = 10"
		echo "fsync = off"
		cat
	} >>"$dir/postgresql.conf"
	export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	og_as_user pg_ctl -D "$dir" -l "$dir/server.log" -s -w start || {
		tail -n 40 "$dir/server.log"
		og_fail "the server does not start"
	}
}

og_free_port()
{
	perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(
		Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

og_open_tcp()
{
	OG_PORT=$(og_free_port)
	OG_PASSWORD=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
	printf '%s\n' "local all all trust" \
		"host all all 127.0.0.1/32 scram-sha-256" >"$OG_TMP/hba.conf"
	chmod 644 "$OG_TMP/hba.conf"
	OG_TCP="listen_addresses = '127.0.0.1'
		port = $OG_PORT
		hba_file = '$OG_TMP/hba.conf'"
}

og_stop_server()
{
	og_as_user pg_ctl -D "$1" -m "${2:-fast}" -s -w stop
}
