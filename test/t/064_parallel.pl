# A query that fails in a parallel worker has one reason, the query's own, and
# the workers note nothing of their own.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('parallel', q{
max_parallel_workers_per_gather = 2
parallel_setup_cost = 0
parallel_tuple_cost = 0
min_parallel_table_scan_size = 0
parallel_leader_participation = off
});
$node->safe_psql('postgres', q{
	CREATE TABLE big AS SELECT g AS n FROM generate_series(1, 20000) g;
	CREATE FUNCTION fail(n integer) RETURNS integer LANGUAGE plpgsql
		PARALLEL SAFE AS $$BEGIN RETURN 1 / (n - 10000); END$$;
	ANALYZE big});

my $reason = 'COMMIT was answered with ROLLBACK because an earlier statement'
	. ' had failed: see its SQLSTATE';

for my $level ('warning', 'panic')
{
	my $key = $level eq 'warning' ? 1 : 2;
	my $session = session($node);
	$session->query("SET log_min_messages = $level");
	like($session->query('EXPLAIN (COSTS OFF) SELECT sum(fail(n)) FROM big'),
		qr/Gather/, "$level: a parallel query");
	$session->query("BEGIN; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	$session->query('SELECT sum(fail(n)) FROM big; SELECT 1; COMMIT');
	like($session->errors, qr/division by zero.*parallel worker/s,
		"$level: fails in a worker");
	is( $node->safe_psql('postgres', "SELECT outcome, sqlstate, reason
			FROM order_guard.outcome('orders', '$key')"),
		"rolled_back|22012|$reason", "$level: one reason");
	scan($node);
	is( $node->safe_psql('postgres', "SELECT count(*), min(sqlstate),
			min(reason), min(pid) = $session->{pid}
			FROM order_guard.attempt WHERE key = '$key'"),
		"1|22012|$reason|t", "$level: one attempt");
	is( $node->safe_psql('postgres',
			'SELECT count(*) FROM order_guard.attempt'),
		$key, "$level: and nothing of the workers'");
	$session->quit;
}
$node->stop('fast');
done_testing();
