# A copy of a server (a base backup, recovery to a point in time) has orders
# and attempts, but no part in the journal of the original: nothing that was
# open there is missed here, and both go on as witnesses.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('original', q{
wal_level = replica
max_wal_senders = 4
archive_mode = on
archive_command = 'true'
hot_standby = on
});
$node->append_conf('pg_hba.conf', 'local replication all trust');
my $archive = $node->basedir . '/archive';
mkdir $archive or die "mkdir $archive: $!";
$node->append_conf('postgresql.conf',
	qq{archive_command = 'cp "%p" "$archive/%f"'});
$node->reload;

# Open while the backup is taken, as is a prepared one.
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
my $open = session($node);
$open->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED');
	UPDATE orders SET status = 'PAID' WHERE id = 1});
$node->safe_psql('postgres', q{BEGIN; INSERT INTO orders
	VALUES (3, 'SUBMITTED'); PREPARE TRANSACTION 'three'});
$node->backup('backup');

# A server from the backup that finds the original's journal directory, and
# all settings of the original.
sub copy_of
{
	my ($name, %options) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	$copy->init_from_backup($node, 'backup', %options);
	return $copy;
}

sub incidents
{
	my ($server) = @_;
	return $server->safe_psql('postgres', q{SELECT kind, key, evidence->>'gap'
		FROM order_guard.incident ORDER BY kind, key});
}

# As long as there is a transaction that nobody noted, it may still commit.
sub swept
{
	my ($server) = @_;
	scan($server);
	$server->safe_psql('postgres', q{COMMIT PREPARED 'three'});
	return scan_until($server, q{SELECT count(*) = 0
		FROM order_guard.watch_state
		WHERE sweep IS NOT NULL OR coverage IS NOT NULL});
}

my $clone = copy_of('clone');
$clone->start;
ok(swept($clone), 'clone: all is looked at');
is(incidents($clone), 'coverage||journal new',
	'clone: nothing is missed, the gap is told');
is( $clone->safe_psql('postgres', 'SELECT count(*)
		FROM order_guard._in_flight()'), 0, 'clone: nothing is open');
is( $clone->safe_psql('postgres', q{SELECT outcome, unknown_because, final
		FROM generate_series(1, 3) g, order_guard.outcome('orders', g::text)}),
	"committed||t\nunknown|journal_lost|f\ncommitted||t",
	'clone: it knows what it has, and what it cannot know');
is( $clone->safe_psql('postgres', q{SELECT count(*) FROM order_guard.tracked}),
	2, 'clone: its orders are tracked');

# Both are witnesses, each of its own, also of a crash.
my $other = session($clone);
$other->query(q{BEGIN; INSERT INTO orders VALUES (20, 'SUBMITTED')});
is( $node->safe_psql('postgres', q{SELECT string_agg(key, ' ' ORDER BY key)
		FROM order_guard._in_flight()}), '1 2',
	'the original goes on with what is open');
crash($clone, $other->{pid});
$other->abandon;
scan($clone);
is( $clone->safe_psql('postgres', q{SELECT key, outcome, cause
		FROM order_guard.attempt}), '20|rolled_back|crash',
	'clone: a witness of its own crash');
$open->query('COMMIT');
scan($node);
is( $node->safe_psql('postgres', q{SELECT count(*) FROM order_guard.attempt
		WHERE outcome <> 'prepared'}), 0, 'original: nothing is missed');
is(incidents($node), '', 'original: no incident');
$clone->stop;

# Recovery to a point before an order that was placed and one that failed.
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (4, 'SUBMITTED')});
my $target = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (5, 'SUBMITTED')});
$node->psql('postgres', q{INSERT INTO orders VALUES (6, 'SUBMITTED'),
	(6, 'SUBMITTED')});
scan($node);
my $wal = $node->safe_psql('postgres',
	'SELECT pg_walfile_name(pg_switch_wal())');
$node->poll_query_until('postgres', "SELECT last_archived_wal >= '$wal'
	FROM pg_stat_archiver") or die "$wal is not archived";
my $failed = session($node);
$failed->query(q{BEGIN; INSERT INTO orders VALUES (7, 'SUBMITTED')});
$node->stop('immediate');
$failed->abandon;
my $restored = copy_of('restored');
$restored->append_conf('postgresql.conf', qq{
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_lsn = '$target'
recovery_target_action = promote
archive_mode = off
});
$restored->append_conf('recovery.signal', '');
$restored->start;
ready($restored);
ok(swept($restored), 'restored: all is looked at');
is( $restored->safe_psql('postgres', 'SELECT string_agg(id::text, $$ $$
		ORDER BY id) FROM orders'), '1 2 3 4', 'restored: to before order 5');
is(incidents($restored), 'coverage||journal new',
	'restored: nothing is missed, the gap is told');
is( $restored->safe_psql('postgres', q{SELECT g, outcome
		FROM generate_series(4, 7) g, order_guard.outcome('orders', g::text)}),
	"4|committed\n5|unknown\n6|unknown\n7|unknown",
	'restored: what came later is unknown');

# Started again, the original knows what it lost.
$node->start;
scan($node);
is( $node->safe_psql('postgres', q{SELECT g, outcome
		FROM generate_series(5, 7) g, order_guard.outcome('orders', g::text)}),
	"5|committed\n6|rolled_back\n7|rolled_back", 'original: it knows');
$_->stop for $restored, $node;
done_testing();
