# An asker that is killed, with the server, loses nothing but time: its lease
# runs out and what it had is handed out again; its answer counts once it is
# committed, not before.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/t';
use OrderGuard;

my $node = guarded_node('asker');

# Three payments that stopped, found by the worker itself.
$node->safe_psql('postgres', q{
	SELECT order_guard.watch('orders', 'status', '{"SUBMITTED": "1 ms"}',
		options => '{"verdicts": {"succeeded": "PAID"},
			"ask": ["1 ms", "1 ms", "1 ms"]}');
	INSERT INTO orders VALUES (1, 'SUBMITTED', 1), (2, 'SUBMITTED', 2),
		(3, 'SUBMITTED', 3)});
scan_until($node, q{SELECT count(*) = 3 FROM order_guard.incidents
	WHERE kind = 'stalled' AND key IS NOT NULL});

sub claimed
{
	my ($session, $lease) = @_;
	return $session->query(
		"SELECT string_agg(key, ',' ORDER BY key)
			FROM order_guard.claim(9, '$lease')");
}

sub answered
{
	my ($session, $key, $verdict) = @_;
	return $session->query("SELECT result FROM order_guard.incidents i,
		order_guard.answer(i.id, '$verdict') WHERE i.key = '$key'
			AND i.kind = 'stalled'");
}

# The asker dies, and is not even noticed by its server.
my $asker = session($node, name => 'asker');
is(claimed($asker, '1 h'), '1,2,3', 'all are handed out');
is(answered($asker, 1, 'succeeded'), 'done', 'one is answered');
$asker->query('BEGIN');
is(answered($asker, 2, 'succeeded'), 'done', 'another one, not committed');
kill 'KILL', $asker->client_pid;
$node->poll_query_until('postgres', 'SELECT count(*) = 0
	FROM pg_stat_activity WHERE pid = ' . pid_of($asker));
is( $node->safe_psql('postgres',
		'SELECT string_agg(id || status, q ORDER BY id)
			FROM orders, (VALUES (chr(32))) v (q) GROUP BY q'),
	'1PAID 2SUBMITTED 3SUBMITTED', 'what was not committed is not');

my $second = session($node, name => 'second');
is(claimed($second, '1 h'), '', 'the lease lasts');

# A crash of the whole server, and a restart: the lease is as it was.
crash($node, pid_of($second));
$node->restart;
my $third = session($node, name => 'third');
is(claimed($third, '1 h'), '', 'the lease lasts longer than the server');
my $end = $node->safe_psql('postgres', q{SELECT count(DISTINCT ask_at)
	FROM order_guard.incidents WHERE state = 'open'
		AND ask_at BETWEEN now() + '50 min' AND now() + '1 h'});
cmp_ok($end, '>=', 1, 'its end is what was asked for');

# It runs out.
$node->safe_psql('postgres', q{UPDATE order_guard.incident
	SET ask_at = now() WHERE state = 'open'});
is(claimed($third, '1 ms'), '2,3', 'what ran out is handed out again');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2
	FROM order_guard.claim(9, '1 ms')}), 'a short lease runs out');
is(answered($third, 2, 'succeeded'), 'done',
	'a late answer is as true as before');

# Whoever dies each time is not given it for ever.
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1
	FROM order_guard.claim(9, '1 ms')}), 'one more time');
ok($node->poll_query_until('postgres', q{
	SELECT count(*) > 0 FROM order_guard.claim(9, '1 ms');
	SELECT count(*) = 1 FROM order_guard.incidents
		WHERE key = '3' AND severity = 'critical'}, "f\nt"),
	'then a person is asked');

# The worker goes on reporting the order; what is known stays.
$node->safe_psql('postgres', q{UPDATE order_guard.incident
	SET last_seen_at = '2000-01-01' WHERE key = '3'});
$node->restart;
ok(scan_until($node, q{SELECT last_seen_at > '2001-01-01'
	FROM order_guard.incidents WHERE key = '3'}), 'it is reported again');
like( $node->safe_psql('postgres', q{SELECT severity, summary
		FROM order_guard.incidents WHERE key = '3'}),
	qr/critical\|order 3 .* is still SUBMITTED .* asked \d times and does not/,
	'and still says that a person is to decide');
$node->safe_psql('postgres', q{
	SELECT order_guard.answer(id, 'unknown', '{"http": 504}')
		FROM order_guard.incidents WHERE key = '3';
	UPDATE order_guard.incident SET last_seen_at = '2000-01-01',
		evidence = evidence || '{"status": "?"}' WHERE key = '3'});
$node->restart;
ok(scan_until($node, q{SELECT evidence ->> 'status' = 'SUBMITTED'
	FROM order_guard.incidents WHERE key = '3'}), 'and again');
is($node->safe_psql('postgres', q{SELECT evidence #>>
		'{answers,0,evidence,http}' FROM order_guard.incidents
		WHERE key = '3'}), '504', 'the answers stay in the evidence');

is($node->safe_psql('postgres', q{SELECT count(*) FROM order_guard.actions
	WHERE action = 'answer' AND result = 'done'}), 3,
	'three answers are on record');
$node->stop;
done_testing();
