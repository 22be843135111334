# A former primary that pg_rewind made a standby again, and that is promoted
# later: nothing of its former life is missed, and it is a witness again.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = guarded_node('old', q{
wal_level = replica
max_wal_senders = 4
hot_standby = on
wal_log_hints = on
wal_keep_size = '256MB'
});
$old->append_conf('pg_hba.conf', 'local replication all trust');
$old->reload;
$old->backup('backup');
my $new = PostgreSQL::Test::Cluster->new('new');
my $directory = $new->basedir . '/journal';
mkdir $directory or die "mkdir $directory: $!";
$new->init_from_backup($old, 'backup', has_streaming => 1);
$new->append_conf('postgresql.conf',
	"order_guard.journal_directory = '$directory'");
$new->start;
$old->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
$old->wait_for_catchup($new, 'replay', $old->lsn('insert'));

# The old primary goes on for a while after the new one has taken over.
$new->promote;
my $open = session($old);
$open->query(q{INSERT INTO orders VALUES (2, 'SUBMITTED')});
$open->query(q{BEGIN; INSERT INTO orders VALUES (3, 'SUBMITTED')});
$new->safe_psql('postgres', q{CHECKPOINT;
	INSERT INTO orders VALUES (4, 'SUBMITTED')});
$old->stop('immediate');
$open->abandon;

# pg_rewind takes the configuration of its source, too.
my $conf = slurp_file($old->data_dir . '/postgresql.conf');
command_ok(
	[
		'pg_rewind', '-D', $old->data_dir, '--source-server',
		$new->connstr('postgres')
	],
	'pg_rewind');
open my $file, '>', $old->data_dir . '/postgresql.conf' or die $!;
print $file $conf;
close $file;
$old->append_conf('postgresql.conf',
	q{primary_conninfo = '} . $new->connstr . q{'});
$old->append_conf('standby.signal', '');
$old->start;
$new->wait_for_catchup($old, 'replay', $new->lsn('insert'));
is( $old->safe_psql('postgres', q{SELECT string_agg(id::text, ' ' ORDER BY id)
		FROM orders}), '1 4', 'what it did alone is gone');
is( $old->safe_psql('postgres', q{SELECT g, outcome, unknown_because
		FROM generate_series(1, 4) g, order_guard.outcome('orders', g::text)}),
	"1|committed|\n2|unknown|in_recovery\n3|unknown|in_recovery\n4|committed|",
	'a standby knows what it has');
is( $old->safe_psql('postgres', 'SELECT count(*)
		FROM order_guard._in_flight()'), 0, 'nothing is open');

$new->stop;
$old->promote;
scan($old);
ok( scan_until($old, q{SELECT count(*) = 0 FROM order_guard.watch_state
		WHERE sweep IS NOT NULL OR coverage IS NOT NULL}),
	'promoted: all is looked at');
is( $old->safe_psql('postgres', q{SELECT kind, key, evidence->>'gap'
		FROM order_guard.incident WHERE kind <> 'coverage'}),
	'', 'nothing is missed that the new primary never had');
is( $old->safe_psql('postgres', q{SELECT string_agg(key, ' ' ORDER BY key)
		FROM order_guard.tracked}), '1 4', 'its orders are tracked');
my $session = session($old);
$session->query(q{BEGIN; INSERT INTO orders VALUES (5, 'SUBMITTED')});
crash($old, $session->{pid});
$session->abandon;
scan($old);
is( $old->safe_psql('postgres', q{SELECT key, outcome, cause
		FROM order_guard.attempt}), '5|rolled_back|crash',
	'and it is a witness again');
$old->stop;
done_testing();
