# The journal is bounded, and when it is full orders go on: what finds no room
# is counted, told and made up for by a sweep.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('bounds', q{
order_guard.journal_size = '1MB'
max_worker_processes = 6
log_statement = none
});
my $stat = 'FROM order_guard.stat_worker';
my $script = $node->basedir . '/order.sql';
append_to_file($script, q{INSERT INTO orders
	VALUES (nextval('number'), 'SUBMITTED', 1);
});
$node->safe_psql('postgres', 'CREATE SEQUENCE number');
my $segments = $node->safe_psql('postgres', "SELECT journal_segments $stat");

sub bench
{
	my (@options) = @_;
	$node->command_ok(
		[ 'pgbench', '-n', '-f', $script, @options, 'postgres' ],
		"pgbench @options");
	return;
}

# Connections come and go, each with one order: they share segments, and the
# worker is woken before there is none left.
bench('-C', '-c', '4', '-j', '2', '-t', '250');
cmp_ok($node->safe_psql('postgres', "SELECT journal_used $stat"),
	'<', $segments / 2 + 8, '1,000 connections');
scan($node);
is($node->safe_psql('postgres', "SELECT journal_used, dropped $stat"),
	'0|0', 'and nothing is left of them');
is( $node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM orders),
		(SELECT count(*) FROM order_guard.tracked)}),
	'1000|1000', 'all orders are known');

# The worker stands still and orders go on, past the end of the journal.
my $open = session($node);
$open->query(q{BEGIN; INSERT INTO orders VALUES (-1, 'SUBMITTED', 1)});
my $failing = session($node);
$failing->query(q{BEGIN; INSERT INTO orders VALUES (-2, 'SUBMITTED', 1)});
my $worker = $node->safe_psql('postgres', "SELECT pid $stat");
kill 'STOP', $worker;
bench('-c', '4', '-j', '2', '-t', '4000');
is($node->safe_psql('postgres', "SELECT journal_used $stat"), $segments,
	'the journal is full');
my $dropped = $node->safe_psql('postgres', "SELECT dropped $stat");
cmp_ok($dropped, '>', 1000, "$dropped dropped");
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders'), 17000,
	'no order was refused');
is($node->safe_psql('postgres', q{SELECT count(*) FROM order_guard._in_flight()
		WHERE key IN ('-1', '-2')}), 2, 'what is open is seen');

# What comes to nothing now leaves no trace.
sub outcome
{
	my ($key) = @_;
	return $node->safe_psql('postgres', "SELECT outcome, unknown_because,
		reason ~ '^not all was noted between .* and .*: journal full\$'
		FROM order_guard.outcome('orders', '$key')");
}
# At first there may be room in segments that others have left.
my $untold = session($node);
my $lost = -3;
sub try_order
{
	my ($key) = @_;
	return $untold->query("BEGIN; INSERT INTO orders
		VALUES ($key, 'SUBMITTED', 1); ROLLBACK; SELECT dropped $stat");
}
my $before = $untold->query("SELECT dropped $stat");
$lost-- while $lost > -9000 && try_order($lost) == $before;
try_order(--$lost);
is(outcome($lost), 'unknown|journal_lost|',
	'nobody can tell what is tried now');
$untold->quit;

# How these end has its room, be the journal as full as it may.
for my $session ($open, $failing)
{
	$session->query("INSERT INTO orders
		SELECT nextval('number'), 'SUBMITTED' FROM generate_series(1, 100)");
}
$open->query('COMMIT');
$failing->query('ROLLBACK');
is($node->safe_psql('postgres', q{SELECT count(*)
		FROM order_guard._in_flight()}), 0, 'and so is its end');
$dropped = $node->safe_psql('postgres', "SELECT dropped $stat");
kill 'CONT', $worker;
scan($node);
scan($node);
is( $node->safe_psql('postgres', q{SELECT evidence->>'gap', summary
		FROM order_guard.incident WHERE kind = 'coverage'}),
	'journal full|work on public.orders may have gone unseen: journal full',
	'an incident');
ok( scan_until($node, q{SELECT state = 'cleared' FROM order_guard.incident
		WHERE kind = 'coverage'}), 'that is over after a sweep');
is( $node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM orders),
		(SELECT count(*) FROM order_guard.tracked)}),
	'17101|17101', 'all orders are known');
is( $node->safe_psql('postgres', q{SELECT cause FROM order_guard.attempt
		WHERE key = '-2'}), 'rollback', 'and what failed');
is(outcome($lost), 'unknown|journal_lost|t', 'the loss is remembered');
is( $node->safe_psql('postgres', q{SELECT count(*), bool_and(since < until)
		FROM order_guard.loss}), '1|t', 'as one');
# Two sessions have a segment of their own.
cmp_ok($node->safe_psql('postgres', "SELECT journal_used $stat"), '<=', 2,
	'the journal is empty');

# Another worker does not sweep for the same loss.
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok( $node->poll_query_until('postgres', "SELECT pid <> $worker $stat"),
	'another worker');
scan($node);
scan($node);
is($node->safe_psql('postgres', 'SELECT count(*) FROM order_guard.watch_state
	WHERE sweep IS NOT NULL'), 0, 'sweeps for nothing');

# But the loss survives a crash that comes before the sweep.
$worker = $node->safe_psql('postgres', "SELECT pid $stat");
kill 'STOP', $worker;
bench('-c', '4', '-j', '2', '-t', '4000');
cmp_ok($node->safe_psql('postgres', "SELECT dropped $stat"), '>', $dropped,
	'full again');
crash($node, $worker);
$_->abandon for $open, $failing;
ok( scan_until($node, q{SELECT (SELECT count(*) FROM orders)
		= (SELECT count(*) FROM order_guard.tracked)}),
	'all orders are known after a crash');
$node->stop('fast');
done_testing();
