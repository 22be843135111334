# A database has a worker exactly while it has the extension.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $workers = q{SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'order_guard worker'};

my $node = PostgreSQL::Test::Cluster->new('launcher');
$node->init;

# Without preload: a hint, no extension.
$node->start;
my ($rc, $out, $err) =
  $node->psql('postgres', 'CREATE EXTENSION order_guard');
isnt($rc, 0, 'CREATE EXTENSION fails without preload');
like($err, qr/HINT:  Add order_guard to shared_preload_libraries/,
	'and says what to do');
$node->stop;

$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '100ms'
log_min_messages = debug1
});
$node->start;

sub worker_of
{
	my ($database) = @_;
	return "$workers AND datname = '$database'";
}

# An uncommitted extension has no worker, and a rolled back one neither.
$node->safe_psql('postgres', q{BEGIN; CREATE EXTENSION order_guard; ROLLBACK});
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');
is($node->safe_psql('postgres', 'SELECT count(*) FROM order_guard.scan()'),
	1, 'scan() works right after CREATE EXTENSION');
is($node->safe_psql('postgres', worker_of('postgres')), 1, 'one worker');

is( $node->safe_psql('postgres',
		q{SELECT state, pid IS NOT NULL, ticks > 0, restarts, errors,
			last_tick IS NOT NULL FROM order_guard.stat_worker}),
	'running|t|t|0|0|t', 'stat_worker');

# Rolled back DROP EXTENSION: the same worker goes on.
my $pid = $node->safe_psql('postgres', 'SELECT pid FROM order_guard.stat_worker');
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION order_guard; ROLLBACK');
$node->safe_psql('postgres', 'SELECT * FROM order_guard.scan()');
is($node->safe_psql('postgres', 'SELECT pid FROM order_guard.stat_worker'),
	$pid, 'the worker outlives a rolled back DROP EXTENSION');

# DROP EXTENSION ends it, for good; CREATE EXTENSION brings it back.
$node->safe_psql('postgres', 'DROP EXTENSION order_guard');
ok($node->poll_query_until('postgres', $workers, 0), 'no worker after DROP');
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');
ok($node->poll_query_until('postgres', worker_of('postgres'), 1),
	'a worker after the second CREATE');

# By way of its schema.
$node->safe_psql('postgres', 'DROP SCHEMA order_guard CASCADE');
ok($node->poll_query_until('postgres', $workers, 0),
	'no worker after DROP SCHEMA');
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');

# A second database, and template1 with a copy.
$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->safe_psql('second', 'CREATE EXTENSION order_guard');
$node->safe_psql('template1', 'CREATE EXTENSION order_guard');
for my $database ('postgres', 'second', 'template1')
{
	ok($node->poll_query_until('postgres', worker_of($database), 1),
		"a worker in $database");
}
$node->safe_psql('postgres', 'CREATE DATABASE copy');
is($node->safe_psql('copy', 'SELECT count(*) FROM order_guard.scan()'),
	1, 'a copy of template1 is served');
ok($node->poll_query_until('postgres', worker_of('template1'), 1),
	'template1 is served again');
is($node->safe_psql('postgres', worker_of('template0')), 0, 'not template0');

# A worker that is told to end comes back.
$pid = $node->safe_psql('second', 'SELECT pid FROM order_guard.stat_worker');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok( $node->poll_query_until('second',
		"SELECT state = 'running' AND pid <> $pid AND restarts = 1
		 FROM order_guard.stat_worker"),
	'a terminated worker comes back');

# So does the launcher, and the workers do not notice.
my $launcher = q{SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'order_guard launcher'};
my $first = $node->safe_psql('postgres', $launcher);
$pid = $node->safe_psql('second', 'SELECT pid FROM order_guard.stat_worker');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($first)");
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM ($launcher) AS l WHERE pid <> $first"),
	'a terminated launcher comes back');
is($node->safe_psql('second', 'SELECT pid FROM order_guard.stat_worker'),
	$pid, 'the workers stay');

# A cancelled worker stays.
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->safe_psql('second', 'SELECT * FROM order_guard.scan()');
is($node->safe_psql('second', 'SELECT pid FROM order_guard.stat_worker'),
	$pid, 'a worker survives pg_cancel_backend');

# A crash of a backend restarts everything.
$node->safe_psql('postgres', 'ALTER SYSTEM SET restart_after_crash = on');
$node->reload;
kill 'KILL', $pid;
ok($node->poll_query_until('second', worker_of('second')
		. " AND pid <> $pid", 1), 'a worker after a crash');
is($node->safe_psql('second', 'SELECT count(*) FROM order_guard.scan()'),
	1, 'and it serves');

$node->append_conf('postgresql.conf', q{order_guard.naptime = '1h'});
$node->reload;
$node->safe_psql($_, 'SELECT * FROM order_guard.scan()')
  for 'postgres', 'second', 'copy', 'template1';
my $offset = -s $node->logfile;
$node->stop('fast');
unlike(substr(slurp_file($node->logfile), $offset), qr/FATAL.*order_guard/,
	'idle workers leave a fast shutdown without a word');
done_testing();
