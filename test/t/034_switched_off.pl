# order_guard.enabled = off takes effect at once and hurts nobody; on again,
# what happened meanwhile is made up for, also across restarts.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('off');
my $key = 0;

# Sessions see a reload when they next wait for their client.
sub turn
{
	my ($value, @sessions) = @_;
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET order_guard.enabled = $value");
	$node->reload;
	for my $session (@sessions)
	{
		$session->query('SELECT 1')
		  while $session->query('SHOW order_guard.enabled') ne $value;
	}
	$node->poll_query_until('postgres',
		"SELECT current_setting('order_guard.enabled') = '$value'");
	return;
}

sub complete
{
	my ($what, $missed) = @_;
	ok( scan_until($node, q{SELECT (SELECT count(*) FROM order_guard.tracked)
			= (SELECT count(*) FROM orders)}), "$what: all orders are known");
	is( $node->safe_psql('postgres', q{SELECT evidence->>'gap'
			FROM order_guard.incident WHERE kind = 'coverage'
			ORDER BY id DESC LIMIT 1}),
		'order_guard.enabled was off', "$what: an incident");
	ok( scan_until($node, q{SELECT bool_and(state = 'cleared')
			FROM order_guard.incident WHERE kind = 'coverage'}),
		"$what: it is over");
	is($node->safe_psql('postgres', $missed), 'cleared|the order appeared',
		"$what: it was not missed for ever") if $missed;
	$node->safe_psql('postgres', 'DELETE FROM order_guard.incident');
	return;
}

$node->safe_psql('postgres', q{BEGIN;
	INSERT INTO orders VALUES (99, 'SUBMITTED'); ROLLBACK});
scan($node);
my $missed = q{SELECT state, resolution FROM order_guard.incident
	WHERE kind = 'vanished' AND key = '99'};
is($node->safe_psql('postgres', $missed), 'open|', 'an order is missed');
my $open = session($node);
my $late = session($node);
$_->query('BEGIN') for $open, $late;
$open->query(q{INSERT INTO orders VALUES (101, 'SUBMITTED')});
turn('off', $open, $late);
scan($node);

# Begun before, goes on without being noted.
$open->query(q{INSERT INTO orders VALUES (102, 'SUBMITTED');
	SAVEPOINT a; INSERT INTO orders VALUES (103, 'SUBMITTED');
	ROLLBACK TO a; COMMIT});
$late->query(q{INSERT INTO orders VALUES (104, 'SUBMITTED'); ROLLBACK});
for my $sql (q{INSERT INTO orders VALUES (105, 'SUBMITTED')},
	q{INSERT INTO orders VALUES (105, 'SUBMITTED')},
	q{UPDATE orders SET status = 'SUBMITTED', amount = 1},
	q{COPY orders FROM STDIN}, q{DELETE FROM orders WHERE id = 105},
	q{INSERT INTO orders VALUES (106, 'SUBMITTED'), (99, 'SUBMITTED')})
{
	$node->psql('postgres', $sql . ($sql =~ /^COPY/ ? ";\n\\.\n" : ''));
}
is($open->errors, '', 'no errors');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM order_guard._in_flight()'), 0,
 'nothing in flight');
scan($node);
is( $node->safe_psql('postgres', q{SELECT (SELECT count(*)
		FROM order_guard.attempt), (SELECT count(*)
		FROM order_guard.incident)}), '1|1', 'nothing is written');
# Not noted, and still open when it is on again and everything is swept.
my $slow = session($node);
$slow->query(q{BEGIN; INSERT INTO orders VALUES (107, 'SUBMITTED')});
my $prepared = session($node);
$prepared->query(q{BEGIN; INSERT INTO orders VALUES (108, 'SUBMITTED');
	PREPARE TRANSACTION 'slow'});
turn('on', $open, $late, $slow, $prepared);
scan($node) for 1 .. 3;
is( $node->safe_psql('postgres', q{SELECT state FROM order_guard.incident
		WHERE kind = 'coverage'}), 'open', 'not complete yet');
is( $node->safe_psql('postgres', q{SELECT string_agg(key, ' ' ORDER BY key)
		FROM order_guard.tracked}), '101 102 106 99', 'though swept');
$slow->query('COMMIT');
$prepared->query(q{COMMIT PREPARED 'slow'});
$_->quit for $slow, $prepared;
complete('on again', $missed);
is($node->safe_psql('postgres', 'SELECT count(*) FROM order_guard.attempt'),
	1, 'what failed meanwhile is not known');
is($node->safe_psql('postgres', 'SELECT string_agg(id::text, \' \' ORDER BY id)
	FROM orders'), '99 101 102 106 107 108', 'what was done is done');

# Off, and the server is started again before it is on.
turn('off');
scan($node);
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (201, 'SUBMITTED')});
$node->safe_psql('postgres', 'ALTER SYSTEM SET order_guard.enabled = on');
$_->quit for $open, $late;
$node->stop('immediate');
$node->start;
complete('on again with a restart');
turn('off');
$node->restart;
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (202, 'SUBMITTED')});
scan($node);
turn('on');
complete('started while off');

# Of an order that may have been tried meanwhile that is said, from then on;
# the same of the time in which a trigger was off.
sub unknown
{
	return $node->safe_psql('postgres', q{SELECT outcome, unknown_because,
		reason FROM order_guard.outcome('orders', '999')});
}
like(unknown(), qr/^unknown\|disabled\|not all was noted between .* and .*: order_guard\.enabled was off$/,
	'switched off: remembered');
$node->safe_psql('postgres',
	'ALTER TABLE orders DISABLE TRIGGER "00_order_guard_change"');
ok( scan_until($node, q{SELECT bool_or(state = 'open')
		FROM order_guard.incident WHERE kind = 'coverage'}), 'a trigger is off');
$node->safe_psql('postgres',
	'ALTER TABLE orders ENABLE ALWAYS TRIGGER "00_order_guard_change"');
ok( scan_until($node, q{SELECT bool_and(state = 'cleared')
		FROM order_guard.incident WHERE kind = 'coverage'}), 'and on again');
like(unknown(), qr/^unknown\|coverage_gap\|not all was noted between/,
	'a trigger was off: remembered');
$node->stop('fast');
done_testing();
