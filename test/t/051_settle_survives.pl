# Tombstones hold after whatever a server goes through, from the first
# transaction on: also when no worker has loaded them.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('survives', q{
wal_level = replica
max_wal_senders = 4
hot_standby = on
});
$node->append_conf('pg_hba.conf', 'local replication all trust');
$node->reload;
my $number = 0;

sub place
{
	my ($server, $token, $database) = @_;
	my ($rc, $out, $err) = $server->psql($database // 'postgres', sprintf(
			q{\set VERBOSITY sqlstate
			INSERT INTO placed VALUES (%d, '%s', 'NEW')}, ++$number, $token));
	return $err =~ /ERROR: +(\w+)/ ? $1 : 'placed';
}

# Both ways at once: what is settled is refused, what is not is not.
sub check
{
	my ($server, $when, $database) = @_;
	is(place($server, 'dead', $database) . ' '
		  . place($server, "alive $number", $database),
		'OG001 placed', $when);
	return;
}

sub settle
{
	my ($server, $token, $more) = @_;
	return $server->safe_psql('postgres', sprintf(
			q{SELECT outcome, final FROM order_guard.settle('%s'%s)}, $token,
			$more // ''));
}

$node->safe_psql('postgres', q{
	CREATE TABLE placed (id integer PRIMARY KEY, token text, status text);
	CREATE INDEX ON placed (token);
	SELECT order_guard.watch('placed', 'status', token => 'token',
		options => '{"settle": true}')});
is(settle($node, 'dead'), 'settled|t', 'a token is settled');
check($node, 'it is refused');

# A promise is not taken back by a setting.
$node->append_conf('postgresql.conf', 'order_guard.enabled = off');
$node->reload;
$node->poll_query_until('postgres',
	q{SELECT current_setting('order_guard.enabled') = 'off'});
check($node, 'switched off');
is(settle($node, 'off'), 'settled|t', 'and is given all the same');
$node->append_conf('postgresql.conf', 'order_guard.enabled = on');
$node->reload;

# Only tokens given by setting are forgotten some day.
$node->safe_psql('postgres', q{
	UPDATE order_guard.settled SET settled_at = now() - interval '10 years';
	INSERT INTO order_guard.token_use SELECT t, 0, gen_random_uuid(), '1',
		gen_random_uuid(), true, false, '3', now() - a::interval
	FROM (VALUES ('old', '31 days'), ('new', '29 days')) v (t, a)});
$node->stop('immediate');
$node->start;
check($node, 'after an immediate stop');

my $session = session($node);
$session->query(q{BEGIN; INSERT INTO placed VALUES (0, 'crashes', 'NEW')});
crash($node, $session->{pid});
$session->abandon;
check($node, 'after a crash');
scan($node);
is($node->safe_psql('postgres', 'SELECT token FROM order_guard.token_use'),
	'new', 'an old token is forgotten');
is(settle($node, 'crashes'), 'settled|t', 'what the crash undid is settled');

# The worker is killed (so is every backend with it).
crash($node, $node->safe_psql('postgres',
		'SELECT pid FROM order_guard.stat_worker'));
check($node, 'after the worker was killed');

# No worker can start: nobody settles, and what is settled is refused.
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
check($node, 'without a worker');
my ($rc, $out, $err) = $node->psql('postgres',
	q{SELECT order_guard.settle('nobody', timeout => '300 ms')});
like($err, qr/not answered within its timeout/, 'settle() is an error then');

$node->append_conf('postgresql.conf',
	"shared_preload_libraries = ''\nmax_worker_processes = 8");
$node->restart;
check($node, 'without the library preloaded');
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'order_guard'");
$node->restart;
check($node, 'with it again');
scan($node);

# A standby does not settle; after its promotion it knows.
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('promoted');
mkdir $standby->basedir . '/journal';
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', sprintf(
		"order_guard.journal_directory = '%s/journal'", $standby->basedir));
$standby->start;
is(settle($node, 'late'), 'settled|t', 'one more is settled');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
($rc, $out, $err) =
  $standby->psql('postgres', q{SELECT order_guard.settle('x')});
like($err, qr/cannot run during recovery/, 'a standby does not settle');
is($standby->safe_psql('postgres',
		q{SELECT outcome FROM order_guard.outcome('late')}),
	'settled', 'but knows what is settled');
$standby->promote;
is(place($standby, 'late'), 'OG001', 'after its promotion it refuses');
check($standby, 'the older one, too');
$standby->stop('fast');

# A dump brings them along.
my $dump = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d',
		$node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ],
	'pg_restore');
check($node, 'in a database that was restored', 'restored');
is($node->safe_psql('restored',
		q{SELECT outcome FROM order_guard.settle('dead')}),
	'settled', 'and its worker answers so');

# Rows that somebody else writes count from their commit on.
$node->safe_psql('postgres', q{INSERT INTO order_guard.settled
	VALUES ('by hand', now(), 'me')});
is(place($node, 'by hand'), 'OG001', 'a row written by hand is known');
$node->stop('fast');
done_testing();
