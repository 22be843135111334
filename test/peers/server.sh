# shellcheck shell=bash disable=SC2154
#
# server.sh: what check-peers needs: packages, a server, pgbouncer, the
# programs in their languages.  Source it after test/run/lib.sh.
#
#   peers_packages, peers_build, peers_start, peers_programs, in this order
#   bouncer_start        pgbouncer in front of the server, on a unix socket in
#                        the folder BOUNCER; bouncer_stop
#   query SQL            the answer, unaligned, as superuser
#   wait_for WHAT SQL    until the answer is t; complains after a minute
#   complain TEXT        the test that runs has failed
#   logged OFFSET TEXT   how often the server log has it, behind a position
#
# DATA is the server's folder; PYTHON the interpreter that has psycopg2.

complain()
{
	printf '%s\n' "$*" >>"$problems"
}

query()
{
	psql -XqAt -v ON_ERROR_STOP=1 -c "$1"
}

wait_for()
{
	local turn
	for ((turn = 0; turn < 600; turn++)); do
		[ "$(query "$2" 2>/dev/null)" != t ] || return 0
		sleep 0.1
	done
	complain "waited in vain: $1"
	return 1
}

log_position()
{
	stat -c %s "$DATA/server.log"
}

logged()
{
	tail -c "+$(($1 + 1))" "$DATA/server.log" | grep -c -- "$2" || true
}

# --- packages ---------------------------------------------------------------

has_package()
{
	apt-cache show "$1" >/dev/null 2>&1
}

# What is there already, from wherever, is used.
wanted_packages()
{
	/usr/bin/python3 -c 'import psycopg2' 2>/dev/null ||
		echo python3-psycopg2
	type -P pgbouncer /usr/sbin/pgbouncer >/dev/null || echo pgbouncer
	type -P javac >/dev/null || echo default-jdk-headless
	[ -e /usr/share/java/postgresql.jar ] || echo libpostgresql-jdbc-java
	type -P node >/dev/null || echo nodejs
	type -P npm >/dev/null || echo npm
	type -P sqlsmith >/dev/null || echo sqlsmith
	echo "postgresql-$OG_MAJOR-pgaudit"
	echo "postgresql-$OG_MAJOR-repack"
	# not in every Debian
	if has_package "postgresql-$OG_MAJOR-pgauditlogtofile"; then
		echo "postgresql-$OG_MAJOR-pgauditlogtofile"
	fi
}

# pgbouncer's package would start a service of the machine.
without_services()
{
	local policy=/usr/sbin/policy-rc.d rc=0
	if [ -e "$policy" ]; then
		"$@"
		return
	fi
	printf '#!/bin/sh\nexit 101\n' | og_as_root tee "$policy" >/dev/null
	og_as_root chmod 755 "$policy"
	"$@" || rc=$?
	og_as_root rm -f "$policy"
	return "$rc"
}

peers_packages()
{
	local missing
	og_packages
	# shellcheck disable=SC2046
	missing=$(og_missing_packages $(wanted_packages) | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	if ! og_can_be_root; then
		echo "packages are missing; run as root: apt-get install" \
			"$missing" >&2
		exit 1
	fi
	# shellcheck disable=SC2086
	without_services og_install_packages $missing ||
		og_fail "could not install $missing"
}

# --- server -----------------------------------------------------------------

peers_build()
{
	og_copy_source "$OG_TMP/source"
	og_private_tree "$OG_TMP/pg"
	og_build_install "$OG_TMP/source" >"$OG_TMP/build.log" 2>&1 || {
		tail -n 40 "$OG_TMP/build.log"
		og_fail "it does not build"
	}
}

peers_start()
{
	DATA=$OG_TMP/data
	og_open_tcp
	og_start_server "$DATA" <<-EOF
		$OG_TCP
		order_guard.journal_directory = '$DATA'
		order_guard.naptime = '100ms'
		order_guard.storm_threshold = 1000000
		deadlock_timeout = '10min'
		max_connections = 40
		log_error_verbosity = default
	EOF
	PGPORT=$OG_PORT
	psql -Xq -v ON_ERROR_STOP=1 -v password="$OG_PASSWORD" \
		-f "$OG_ROOT/test/peers/schema.sql" >/dev/null
	HAS_SETTLE=$(query "SELECT to_regprocedure(
		'order_guard.settle(text, boolean, interval)') IS NOT NULL")
	if [ "$HAS_SETTLE" = t ]; then
		query "SELECT order_guard.watch('orders', 'status',
			options => '{\"settle\": true}')" >/dev/null
		define_settle "order_guard.settle(token, true, '5 s')"
	else
		echo "order_guard.settle() is missing: outcome() stands in for it"
		define_settle "order_guard.outcome(token)"
	fi
}

# What doc/outcome.md tells the owner of the table to make.
define_settle()
{
	query "CREATE FUNCTION settle_order(token text,
			OUT outcome text, OUT key text)
		LANGUAGE sql SECURITY DEFINER
		SET search_path = pg_catalog, pg_temp
		AS \$\$SELECT outcome, key FROM $1\$\$;
	REVOKE ALL ON FUNCTION settle_order FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION settle_order
		TO shop, shop_before, shop_after"
}

# --- programs ---------------------------------------------------------------

peers_programs()
{
	local dir=$OG_TMP/peers
	PYTHON=/usr/bin/python3
	mkdir "$dir"
	cp "$OG_ROOT"/test/peers/*.{py,java,mjs} "$dir"
	if [[ " $PEERS " == *" java "* ]]; then
		javac -d "$dir" "$dir/Retry.java"
	fi
	if [[ " $PEERS " == *" node "* ]]; then
		(cd "$dir" && npm install --no-audit --no-fund \
			--ignore-scripts --loglevel=error pg@8 >npm.log 2>&1) || {
			cat "$dir/npm.log"
			og_fail "npm cannot install pg"
		}
	fi
	chmod -R go+rX "$dir"
}

# Run the program of $peer as a role, by way of $via.
peer_run()
{
	local role=$1 host=$PGHOST port=$PGPORT
	shift
	if [ "$via" = pgbouncer ]; then
		host=$BOUNCER port=6432
	fi
	export PGHOST=$host PGPORT=$port PGUSER=$role
	export PATIENCE=${PATIENCE:-60} SILENCE=${SILENCE:-20}
	case $peer in
	python) $PYTHON "$OG_TMP/peers/retry.py" "$@" ;;
	node) node "$OG_TMP/peers/retry.mjs" "$@" ;;
	java)
		JDBC_URL="jdbc:postgresql://127.0.0.1:$PGPORT/postgres?user=$role"
		JDBC_URL+="&password=$OG_PASSWORD&connectTimeout=5"
		JDBC_URL+="&socketTimeout=$SILENCE"
		export JDBC_URL
		java -XX:TieredStopAtLevel=1 -Xshare:auto \
			-cp "/usr/share/java/postgresql.jar:$OG_TMP/peers" \
			Retry "$@"
		;;
	esac
}

# --- pgbouncer --------------------------------------------------------------

bouncer_start()
{
	BOUNCER=$OG_TMP/bouncer
	og_as_user mkdir "$BOUNCER"
	printf '"%s" ""\n' shop shop_before shop_after >"$OG_TMP/users.txt"
	cat >"$OG_TMP/bouncer.ini" <<-EOF
		[databases]
		postgres = host=$PGHOST port=$PGPORT dbname=postgres
		[pgbouncer]
		unix_socket_dir = $BOUNCER
		listen_port = 6432
		auth_type = trust
		auth_file = $OG_TMP/users.txt
		pool_mode = transaction
		max_client_conn = 300
		listen_backlog = 300
		default_pool_size = 10
		server_login_retry = 1
		logfile = $BOUNCER/log
		pidfile = $BOUNCER/pid
	EOF
	chmod 644 "$OG_TMP/users.txt" "$OG_TMP/bouncer.ini"
	og_as_user "$(type -P pgbouncer /usr/sbin/pgbouncer | head -n 1)" \
		-q -d "$OG_TMP/bouncer.ini"
	trap 'bouncer_stop; og_cleanup' EXIT
	wait_for_bouncer
}

# Its pid file is there a moment after the command has returned.
wait_for_bouncer()
{
	local turn
	for ((turn = 0; turn < 100; turn++)); do
		if [ -s "$BOUNCER/pid" ] && psql -Xqc "SELECT 1" -U shop \
			-h "$BOUNCER" -p 6432 >/dev/null 2>&1; then
			return
		fi
		sleep 0.1
	done
	cat "$BOUNCER/log"
	og_fail "pgbouncer does not start"
}

bouncer_stop()
{
	local pid turn
	[ -n "${BOUNCER:-}" ] && pid=$(cat "$BOUNCER/pid" 2>/dev/null) ||
		return 0
	og_as_user kill "$pid" 2>/dev/null || true
	for ((turn = 0; turn < 100; turn++)); do
		og_as_user kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	BOUNCER=
}
