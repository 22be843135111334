# A transaction id is used again after a crash; the lost order never becomes
# committed by that.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('reuse', q{
wal_writer_delay = '10s'
bgwriter_delay = '10s'
synchronous_commit = off
});

# Loses an open order by what the code does; returns its transaction id.
sub lose
{
	my ($key, $code) = @_;
	my $session = session($node);

	$node->safe_psql('postgres', 'CHECKPOINT');
	$session->query("BEGIN; SAVEPOINT a;
		INSERT INTO orders VALUES (10$key, 'SUBMITTED');
		ROLLBACK TO a; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	my $xid = $session->query('SELECT pg_current_xact_id()');
	$code->($session);
	$session->abandon;
	return $xid;
}

# Gives out ids until the lost one has been somebody else's; how that ended.
sub reuse
{
	my ($xid, $end) = @_;
	$end //= 'COMMIT';
	for (1 .. 20)
	{
		$node->safe_psql('postgres',
			"BEGIN; SELECT pg_current_xact_id(); $end");
		my $status = $node->safe_psql('postgres',
			"SELECT CASE WHEN pg_snapshot_xmin(pg_current_snapshot()) > '$xid'
				THEN pg_xact_status('$xid') END");
		return $status if $status;
	}
	return 'not given out again';
}

sub outcome_of
{
	my ($key) = @_;
	return $node->safe_psql('postgres', "SELECT outcome, cause
		FROM order_guard.attempt WHERE key = '$key'");
}

my $off = q{ALTER SYSTEM SET order_guard.enabled = off};
my $on = q{ALTER SYSTEM RESET order_guard.enabled};

# The worker does not look before the id is taken.
$node->safe_psql('postgres', $off);
my $xid = lose(1, sub { crash($node, $_[0]->{pid}) });
is(reuse($xid), 'committed', 'the log says so of the lost id');
$node->safe_psql('postgres', $on);
$node->reload;
scan($node);
is(outcome_of(1), 'rolled_back|crash', 'the order is lost all the same');
is( $node->safe_psql('postgres', q{SELECT state FROM order_guard.incident
		WHERE key = '1' AND kind = 'vanished'}), 'open', 'and missed');

# The server runs without order_guard in between: then the log proves nothing,
# and the row decides.
$node->safe_psql('postgres', $off);
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$xid = lose(2, sub { $node->stop('immediate') });
$node->start;
is(reuse($xid), 'committed', 'the id is taken while nobody looks');
$node->safe_psql('postgres', $on);
$node->append_conf('postgresql.conf',
	q{shared_preload_libraries = 'order_guard'});
$node->stop('fast');
$node->start;
scan($node);
is(outcome_of(2), 'unknown|crash', 'unknown');
is( $node->safe_psql('postgres', q{SELECT state FROM order_guard.incident
		WHERE key = '2' AND kind = 'vanished'}), 'open', 'and missed');
is( $node->safe_psql('postgres', q{SELECT evidence->>'gap'
		FROM order_guard.incident WHERE kind = 'coverage'}),
	'the server ran without order_guard', 'the gap is told');
ok( scan_until($node, q{SELECT state = 'cleared' FROM order_guard.incident
		WHERE kind = 'coverage'}), 'and closed by a sweep');

# The launcher never notes where recovery ended.  What the log does not call
# committed has failed then, whoever had the id, or if nobody had.
sub lose_and_reuse
{
	my ($key, $end) = @_;
	$xid = lose($key, sub { $node->stop('immediate') });
	$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
	$node->start;
	my $status = $end && reuse($xid, $end);
	$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
	$node->stop('fast');
	$node->start;
	scan($node);
	return $status;
}
is(lose_and_reuse(3, 'ROLLBACK'), 'aborted', 'the id is rolled back later');
is(outcome_of(3), 'rolled_back|crash', 'it is lost');
is(lose_and_reuse(4, 'COMMIT'), 'committed', 'the id is committed later');
is(outcome_of(4), 'unknown|crash', 'that is another');
is(outcome_of(104), 'rolled_back|rollback', 'what had been rolled back before');
lose_and_reuse(5);
is(outcome_of(5), 'rolled_back|crash', 'above a later fence it is lost');
$node->stop('fast');
done_testing();
