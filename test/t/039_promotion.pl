# A standby notes nothing, not even orders that it replays; from its promotion
# on it is a witness, and knows what it took over.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = guarded_node('witness', q{
wal_level = replica
max_wal_senders = 4
hot_standby = on
});
$primary->append_conf('pg_hba.conf', 'local replication all trust');
$primary->reload;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('successor');
my $directory = $standby->basedir . '/journal';
mkdir $directory;
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	"order_guard.journal_directory = '$directory'");
$standby->start;

my $open = session($primary);
$open->query(q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
$open->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
$primary->wait_for_catchup($standby, 'replay',
	$primary->lsn('insert'));
is( $standby->safe_psql('postgres', 'SELECT id FROM orders'), 1,
	'orders arrive');
is( $standby->safe_psql('postgres', q{SELECT journal_used, state
		FROM order_guard.stat_worker}), '0|absent', 'and are not noted');
$primary->stop('immediate');
$open->abandon;

$standby->promote;
scan($standby);
ok( scan_until($standby, q{SELECT array_agg(key) = '{1}'
		FROM order_guard.tracked}), 'what came is known');
is( $standby->safe_psql('postgres', q{SELECT evidence->>'gap'
		FROM order_guard.incident WHERE kind = 'coverage'}),
	'journal new', 'and that more may have been');
my $session = session($standby);
$session->query(q{BEGIN; INSERT INTO orders VALUES (3, 'SUBMITTED')});
is( $standby->safe_psql('postgres',
		'SELECT key FROM order_guard._in_flight()'), 3,
	'it is a witness now');
crash($standby, $session->{pid});
$session->abandon;
scan($standby);
is( $standby->safe_psql('postgres', q{SELECT key, outcome, cause
		FROM order_guard.attempt}), '3|rolled_back|crash',
	'also of a crash');

# A primary that crashes, comes back as a standby and is promoted: there is no
# checkpoint at the end of that recovery, and the last one is older than what
# had committed.
$standby->restart;
$standby->safe_psql('postgres', q{INSERT INTO orders VALUES (4, 'SUBMITTED')});
$standby->stop('immediate');
$standby->set_standby_mode;
$standby->start;
$standby->promote;
scan($standby);
is( $standby->safe_psql('postgres', q{SELECT count(*) FROM order_guard.attempt
		WHERE key = '4' AND outcome = 'rolled_back'}), 0,
	'what had committed is not called lost');
$standby->stop('fast');
done_testing();
