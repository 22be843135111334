# shellcheck shell=bash disable=SC2154
#
# audit.sh: other libraries that have a log hook, loaded before and after.
# Theirs is called once, and before ours; what they see and what the attempt
# says is the same in any order.

# A hook as Citus has one: it changes the code of an error that is logged.
build_rewriter()
{
	local dir=$OG_TMP/rewriter
	mkdir "$dir"
	cp "$OG_ROOT/test/peers/rewriter.c" "$dir"
	gcc -shared -fPIC -I"$(pg_config --includedir-server)" \
		-o "$dir/rewriter.so" "$dir/rewriter.c"
	chmod -R go+rX "$dir"
}

audit_start()
{
	DATA=$OG_TMP/audit$((audits += 1))
	og_start_server "$DATA" <<-EOF
		shared_preload_libraries = '$1'
		order_guard.journal_directory = '$DATA'
		order_guard.naptime = '1h'
		pgaudit.log = 'write'
		pgaudit.log_catalog = off
		pgaudit.log_level = log
		$2
	EOF
	query "CREATE EXTENSION order_guard"
	query "CREATE TABLE orders (id integer PRIMARY KEY, status text);
		SELECT order_guard.watch('orders', 'status')" >/dev/null
	query "CREATE TABLE late (id integer UNIQUE DEFERRABLE
		INITIALLY DEFERRED); INSERT INTO late VALUES (1)"
	query "SELECT count(*) FROM order_guard.scan()" >/dev/null
}

# Is something in the log (a file) just once?
once()
{
	[ "$(grep -c -- "$2" "$1" 2>/dev/null)" = 1 ] ||
		complain "not once in ${1##*/}: $2"
}

make_errors()
{
	query "INSERT INTO orders VALUES (1, 'NEW')" || complain "not placed"
	query "INSERT INTO orders VALUES (1, 'AGAIN')" 2>/dev/null &&
		complain "not refused"
	# known to the log hook alone
	query "BEGIN; INSERT INTO orders VALUES (2, 'LATE');
		INSERT INTO late VALUES (1); COMMIT" 2>/dev/null &&
		complain "not refused at COMMIT"
	query "SELECT count(*) FROM order_guard.scan()" >/dev/null
}

# audit LIBRARIES FILE [CODE]: FILE is the one with the audit
audit()
{
	local file=$2 attempts
	make_errors
	once "$file" "SESSION,.*INSERT INTO orders VALUES (1, 'NEW')"
	once "$file" "SESSION,.*INSERT INTO orders VALUES (1, 'AGAIN')"
	[ "$file" = "$DATA/server.log" ] ||
		! grep -q AUDIT: "$DATA/server.log" ||
		complain "in the server log, too"
	once "$DATA/server.log" 'ERROR: .*"orders_pkey"'
	once "$DATA/server.log" 'ERROR: .*"late_id_key"'
	attempts=$(query "SELECT string_agg(key || ' ' || sqlstate, ', '
		ORDER BY id) FROM order_guard.attempts")
	[ "$attempts" = "1 ${3:-23505}, 2 ${3:-23505}" ] ||
		complain "attempts: $attempts"
	og_stop_server "$DATA"
	report "log hooks: ${1##*/}"
}

audit_plain()
{
	audit_start "$1" ""
	audit "$1" "$DATA/server.log" "${2:-}"
}

audit_to_file()
{
	audit_start "$1" "pgaudit.log_directory = '$OG_TMP/audit-logs$audits'
pgaudit.log_filename = 'audit.log'"
	audit "$1" "$OG_TMP/audit-logs$((audits - 1))/audit.log"
}

check_audit()
{
	audits=0
	audit_plain pgaudit,order_guard
	audit_plain order_guard,pgaudit
	if og_is_installed "postgresql-$OG_MAJOR-pgauditlogtofile"; then
		audit_to_file pgaudit,pgauditlogtofile,order_guard
		audit_to_file order_guard,pgaudit,pgauditlogtofile
	else
		echo "pgauditlogtofile is not in this Debian: left out"
	fi
	build_rewriter
	audit_plain "$OG_TMP/rewriter/rewriter,pgaudit,order_guard" OG999
}
