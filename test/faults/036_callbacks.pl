# A failure in any callback harms nobody: no PANIC, no crash, orders go on,
# and what was not written is counted and made up for.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('faults');
my $stat = 'FROM order_guard.stat_worker';
my $key = 0;

for my $fault (qw(write lease commit abort subabort prepare))
{
	my $dropped = $node->safe_psql('postgres', "SELECT dropped $stat");
	my $base = $key;
	$key += 10;
	my $session = session($node);
	$session->query("SET order_guard.fault = '$fault'");
	$session->query("INSERT INTO orders VALUES ($base + 1, 'SUBMITTED')");
	$session->query("BEGIN; INSERT INTO orders VALUES ($base + 2, 'SUBMITTED');
		SAVEPOINT a; INSERT INTO orders VALUES ($base + 3, 'SUBMITTED');
		SAVEPOINT b; INSERT INTO orders VALUES ($base + 4, 'SUBMITTED');
		ROLLBACK TO a; INSERT INTO orders VALUES ($base + 5, 'SUBMITTED');
		COMMIT");
	$session->query("BEGIN; INSERT INTO orders VALUES ($base + 6, 'SUBMITTED');
		ROLLBACK");
	$session->query("BEGIN; INSERT INTO orders VALUES ($base + 7, 'SUBMITTED');
		PREPARE TRANSACTION '$fault'");
	$session->query("INSERT INTO orders VALUES ($base + 8, 'SUBMITTED')");
	is($session->errors, '', "$fault: nobody notices");
	# An order that is placed in vain, with the fault still there.
	$session->query("INSERT INTO orders VALUES ($base + 1, 'SUBMITTED')");
	$session->query("DO \$\$BEGIN INSERT INTO orders
		VALUES ($base + 1, 'SUBMITTED'); EXCEPTION WHEN OTHERS THEN END\$\$");
	$session->quit;
	$node->safe_psql('postgres', "COMMIT PREPARED '$fault'");
	is( $node->safe_psql('postgres', "SELECT string_agg((id - $base)::text, ' '
			ORDER BY id) FROM orders WHERE id > $base"),
		'1 2 5 7 8', "$fault: orders are as they should be");
	cmp_ok($node->safe_psql('postgres', "SELECT dropped $stat"), '>', $dropped,
		"$fault: counted");
	scan($node);
	ok( scan_until($node, q{SELECT (SELECT count(*) FROM order_guard.tracked)
			= (SELECT count(*) FROM orders)}), "$fault: all orders are known");
	ok( scan_until($node, q{SELECT bool_and(state = 'cleared')
			AND bool_or(evidence->>'gap' = 'journal full')
			FROM order_guard.incident WHERE kind = 'coverage'}),
		"$fault: the gap was told and is closed");
	is( $node->safe_psql('postgres', q{SELECT count(*)
			FROM order_guard.incident i JOIN orders o ON i.key = o.id::text
			WHERE i.state = 'open'}), 0, "$fault: nothing is missed in vain");
	ok( scan_until($node, "SELECT journal_used = 0 $stat"),
		"$fault: nothing stays in the journal");
	$node->safe_psql('postgres', 'DELETE FROM order_guard.incident;
		DELETE FROM order_guard.attempt');
}

ok( !$node->log_contains('terminated by signal|PANIC|TRAP'),
	'nothing has crashed');

# Without its end, only the transaction log knows.
my $session = session($node);
$session->query(q{SET order_guard.fault = 'commit';
	INSERT INTO orders VALUES (901, 'SUBMITTED')});
crash($node, $session->{pid});
$session->abandon;
scan($node);
is( $node->safe_psql('postgres', q{SELECT (SELECT string_agg(outcome, ' ')
		FROM order_guard.attempt), (SELECT count(*) FROM order_guard.tracked
		WHERE key = '901')}), 'unacknowledged|1',
	'killed between commit and its end');
$node->stop('fast');
done_testing();
