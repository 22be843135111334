# Askers that stay idle in their transactions never stop the worker: it leaves
# their incidents out and goes on, and sees to them afterwards.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/t';
use OrderGuard;

my $node = guarded_node('gateway_worker');

# state of the incident about an order
sub state_of
{
	my ($key) = @_;
	return $node->safe_psql('postgres', "SELECT state
		FROM order_guard.incidents WHERE kind = 'stalled' AND key = '$key'
		ORDER BY id DESC LIMIT 1");
}

# A whole tick, which must not take as long as a person does.
sub tick
{
	return $node->safe_psql('postgres',
		q{SELECT drained >= 0 FROM order_guard.scan('30 s')});
}

$node->safe_psql('postgres', q{
	SELECT order_guard.watch('orders', 'status', '{"SUBMITTED": "1 ms"}',
		options => '{"verdicts": {"succeeded": "PAID"}}');
	INSERT INTO orders VALUES (1, 'SUBMITTED', 1), (2, 'SUBMITTED', 2)});
scan_until($node, q{SELECT count(*) = 2 FROM order_guard.incidents
	WHERE kind = 'stalled' AND key IS NOT NULL});

# One order moves on while an asker holds the incidents of both.
my $asker = session($node, name => 'asker');
$asker->query('BEGIN');
is( $asker->query(q{SELECT count(*) FROM order_guard.claim(9, '1 min')}),
	2, 'both are handed out');
$node->safe_psql('postgres', q{UPDATE orders SET status = 'PAID'
	WHERE id = 1});
$node->safe_psql('postgres', q{INSERT INTO orders
	VALUES (3, 'SUBMITTED', 3)});
ok(scan_until($node, q{SELECT count(*) = 1 FROM order_guard.incidents
	WHERE key = '3'}), 'the worker goes on');
is(state_of(1), 'open', 'but for the one that is held');
$asker->query('COMMIT');
is(tick(), 't', 'a tick later');
is(state_of(1), 'cleared', 'it is cleared');
is( $asker->query(q{SELECT result FROM order_guard.incidents i,
		order_guard.answer(i.id, 'succeeded') WHERE key = '1'}),
	'moved_on', 'the answer comes too late');

# The order of an answer that is not committed.
$asker->query('BEGIN');
is( $asker->query(q{SELECT result FROM order_guard.incidents i,
		order_guard.answer(i.id, 'succeeded') WHERE key = '2'}),
	'done', 'one is answered');
is(tick(), 't', 'a tick meanwhile');
is(state_of(2), 'open', 'nothing is decided');
$asker->query('COMMIT');
is(tick(), 't', 'a tick afterwards');
is(state_of(2), 'resolved', 'it is resolved by the answer, not cleared');

# An answer about an incident that is old enough to be removed.
$node->safe_psql('postgres', q{UPDATE order_guard.incident
	SET closed_at = now() - interval '1 h' WHERE state <> 'open'});
$node->append_conf('postgresql.conf', q{order_guard.incident_retention = '1s'});
$node->reload;
$asker->query('BEGIN');
$asker->query(q{SELECT result FROM order_guard.incidents i,
	order_guard.answer(i.id, 'unknown') WHERE key = '1'});
# a worker that starts removes first thing
my $worker = $node->safe_psql('postgres', q{SELECT pid FROM
	pg_stat_activity WHERE backend_type LIKE 'order_guard worker%'});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok($node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM
	pg_stat_activity WHERE backend_type LIKE 'order_guard worker%'
		AND pid <> $worker}), 'another worker');
ok(scan_until($node, q{SELECT count(*) = 0 FROM order_guard.incidents
	WHERE key = '2'}), 'what is old is removed');
is(state_of(1), 'cleared', 'but for the one that is held');
is(tick(), 't', 'and the worker goes on');
$asker->query('COMMIT');
$node->stop;
done_testing();
