# With synchronous standbys an answer is final only when they have the order,
# too; one whose COMMIT waits for them is in flight.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = guarded_node('primary', q{
wal_level = replica
max_wal_senders = 4
hot_standby = on
});
$primary->append_conf('pg_hba.conf', 'local replication all trust');
$primary->reload;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	q{order_guard.journal_directory = '.'});
$standby->start;

sub outcome
{
	my ($key, $columns) = @_;
	$columns //= 'outcome, final';
	return $primary->safe_psql('postgres',
		"SELECT $columns FROM order_guard.outcome('orders', '$key')");
}

# Nobody is synchronous.
$primary->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
is(outcome(1), 'committed|t', 'on disk here: final');

$primary->append_conf('postgresql.conf',
	q{synchronous_standby_names = 'standby'});
$primary->reload;
$primary->poll_query_until('postgres', q{SELECT sync_state = 'sync'
	FROM pg_stat_replication}) or die 'the standby is not synchronous';
$primary->safe_psql('postgres', q{INSERT INTO orders VALUES (2, 'SUBMITTED')});
is(outcome(2), 'committed|t', 'on disk there, too: final');
is(outcome(1), 'committed|t', 'as is what came before');

# The standby is gone.
$standby->stop;
my $local = 'SET synchronous_commit = local; INSERT INTO orders VALUES';
$primary->safe_psql('postgres', "$local (3, 'SUBMITTED')");
is(outcome(3), 'committed|f', 'not confirmed: not final');
is( outcome(3, 'reason, unknown_because, message'),
	'a synchronous standby has not confirmed it||The order has been placed; '
	. 'a copy of it is being made, please wait a moment.', 'with the reason');
is(outcome(2), 'committed|t', 'what it has stays final');
scan($primary);
is(outcome(3), 'committed|f', 'also when the journal is empty');

# A COMMIT that waits.
my $waiting = session($primary);
$waiting->send(q{INSERT INTO orders VALUES (4, 'SUBMITTED');});
$primary->poll_query_until('postgres', "SELECT wait_event = 'SyncRep'
	FROM pg_stat_activity WHERE pid = $waiting->{pid}") or die 'no wait';
is( outcome(4, 'outcome, final, pid, reason'), "in_flight|f|$waiting->{pid}|"
	  . 'its COMMIT waits for a synchronous standby', 'COMMIT waits');
# Whoever waits is told to stop: it is committed, but not there.
$primary->safe_psql('postgres', "SELECT pg_cancel_backend($waiting->{pid})");
$waiting->query('SELECT 1');
is(outcome(4), 'committed|f', 'the wait was cancelled: not final');

$standby->start;
ok( $primary->poll_query_until('postgres', q{SELECT bool_and(final)
		FROM generate_series(1, 4) g, order_guard.outcome('orders', g::text)}),
	'all are final when the standby is back');

# The standby itself can tell what is there, and not what is not.
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is( $standby->safe_psql('postgres', q{SELECT outcome, unknown_because
		FROM generate_series(4, 5) g, order_guard.outcome('orders', g::text)}),
	"committed|\nunknown|in_recovery", 'on the standby');

# A crash makes it forget what was confirmed until the standby answers.
$standby->stop;
$primary->safe_psql('postgres', "$local (5, 'SUBMITTED')");
crash($primary, $waiting->{pid});
$waiting->abandon;
is(outcome(5), 'committed|f', 'after a crash');
$standby->start;
ok( $primary->poll_query_until('postgres', q{SELECT bool_and(final)
		FROM generate_series(1, 5) g, order_guard.outcome('orders', g::text)}),
	'and the return of the standby');
$_->stop for $standby, $primary;
done_testing();
