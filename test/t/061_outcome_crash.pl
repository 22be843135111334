# What outcome() says of orders that a crash has hit, before and after the
# worker has looked: never committed by an id that is used again, never lost
# when it is there.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('outcome', q{
wal_writer_delay = '10s'
bgwriter_delay = '10s'
synchronous_commit = off
max_wal_senders = 4
wal_level = replica
});
my $columns = 'outcome, final, unknown_because, reason';
my $crashed = 'the server crashed before COMMIT';

sub outcome
{
	my ($key) = @_;
	return $node->safe_psql('postgres',
		"SELECT $columns FROM order_guard.outcome('orders', '$key')");
}

# From here on neither the worker nor the WAL writer, which a reload wakes,
# writes, and what the journal holds when the server goes down stays there
# until free_worker().
sub stop_writers
{
	kill 'STOP', split /\n/, $node->safe_psql('postgres', q{
		SELECT pid FROM pg_stat_activity
		WHERE backend_type IN ('walwriter', 'order_guard worker')});
	return;
}

sub hold_worker
{
	$node->safe_psql('postgres',
		'ALTER SYSTEM SET order_guard.enabled = off');
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW order_guard.enabled', 'off')
	  or die 'it stays on';
	return;
}

sub free_worker
{
	$node->safe_psql('postgres', 'ALTER SYSTEM RESET order_guard.enabled');
	$node->reload;
	$node->poll_query_until('postgres', 'SHOW order_guard.enabled', 'on')
	  or die 'it stays off';
	scan($node);
	scan_until($node, q{SELECT count(*) = 0 FROM order_guard.watch_state
		WHERE sweep IS NOT NULL OR coverage IS NOT NULL})
	  or die 'a gap stays open';
	return;
}

# Gives out ids until the lost one is somebody else's.
sub reuse
{
	my ($xid) = @_;
	for (1 .. 50)
	{
		$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
		return 'committed' if $node->safe_psql('postgres', "SELECT CASE
			WHEN pg_snapshot_xmin(pg_current_snapshot()) > '$xid'
			THEN pg_xact_status('$xid') END") eq 'committed';
	}
	return 'not given out again';
}

# Open, and committed but not on disk, when the server crashes.
my @session = map { session($node) } 1 .. 3;
stop_writers();
$node->safe_psql('postgres', 'CHECKPOINT');
$session[0]->query(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED')});
my $xid = $session[0]->query('SELECT pg_current_xact_id()');
$session[1]->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
$session[2]->query(q{INSERT INTO orders VALUES (3, 'SUBMITTED')});
is($session[2]->query(q{SELECT count(*) FROM orders WHERE id = 3}), 1,
	'a commit that is not on disk');
hold_worker();
crash($node, $session[0]->{pid});
$_->abandon for @session;
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders'), 0,
	'is lost');
is(outcome(1), "rolled_back|f||$crashed", 'the one that was killed');
is(outcome(2), "rolled_back|f||$crashed", 'another, which left in silence');
is(outcome(3),
	'rolled_back|f||its COMMIT was not on disk when the server crashed',
	'the commit that is lost');
is(reuse($xid), 'committed', 'the id is used again');
is(outcome(1), "rolled_back|f||$crashed", 'which changes nothing');
free_worker();
is(outcome(1), "rolled_back|t||$crashed", 'after the worker: killed');
is(outcome(2), "rolled_back|t||$crashed", 'after the worker: in silence');
is(outcome(3),
	'rolled_back|t||its COMMIT was not on disk when the server crashed',
	'after the worker: lost');

# Asking makes what it answers durable: the commit does not get lost after
# the answer.
my $session = session($node);
$node->safe_psql('postgres', 'CHECKPOINT');
$session->query(q{INSERT INTO orders VALUES (10, 'SUBMITTED')});
is(outcome(10), 'committed|t||', 'told to be committed');
crash($node, $session->{pid});
$session->abandon;
is(outcome(10), 'committed|t||', 'so it is there after a crash');

# Killed between its commit record and its end: it waits for a standby that is
# not there.  Nothing is missed.
$node->append_conf('postgresql.conf', q{
synchronous_commit = on
synchronous_standby_names = 'nobody'
});
$node->reload;
$session = session($node);
$session->send(q{INSERT INTO orders VALUES (20, 'SUBMITTED');});
$node->poll_query_until('postgres', "SELECT wait_event = 'SyncRep'
	FROM pg_stat_activity WHERE pid = $session->{pid}") or die 'no wait';
crash($node, $session->{pid});
$session->abandon;
is( outcome(20),
	'committed|f||it was committed, but its client may not have heard: '
	  . 'the server crashed before it had answered; '
	  . 'a synchronous standby has not confirmed it',
	'killed in COMMIT: it is there');
$node->append_conf('postgresql.conf', q{synchronous_standby_names = ''});
$node->reload;
scan($node);
is( $node->safe_psql('postgres', q{SELECT (SELECT string_agg(outcome, ',')
		FROM order_guard.attempt WHERE key = '20'), (SELECT
		string_agg(kind, ',') FROM order_guard.incident WHERE key = '20'),
		(SELECT count(*) FROM order_guard.tracked WHERE key = '20')}),
	'unacknowledged|unacknowledged|1', 'nobody misses it');

# The server runs without order_guard in between, and the id is used again:
# nobody can tell.
$node->append_conf('postgresql.conf', q{synchronous_commit = off});
$node->reload;
$session = session($node);
stop_writers();
$node->safe_psql('postgres', 'CHECKPOINT');
$session->query(q{BEGIN; INSERT INTO orders VALUES (30, 'SUBMITTED')});
$xid = $session->query('SELECT pg_current_xact_id()');
hold_worker();
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->stop('immediate');
$session->abandon;
$node->start;
is(reuse($xid), 'committed', 'the id is used while nobody looks');
$node->append_conf('postgresql.conf',
	q{shared_preload_libraries = 'order_guard'});
$node->restart;
is(outcome(30), 'unknown|f|journal_lost|', 'unknown, not committed');
free_worker();
is(outcome(30), 'unknown|f|journal_lost|', 'also after the worker');
$node->stop('fast');
done_testing();
