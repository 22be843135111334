# Too few background workers: visible, tried again, and never fatal.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The server's launcher of logical replication, our launcher, one worker.
my $node = PostgreSQL::Test::Cluster->new('slots');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '100ms'
max_worker_processes = 3
});
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');
$node->safe_psql('postgres', 'SELECT * FROM order_guard.scan()');
my $offset = -s $node->logfile;
$node->safe_psql('shop', 'CREATE EXTENSION order_guard');
$node->wait_for_log(qr/order_guard found no free background worker slot/,
	$offset);
ok( $node->poll_query_until('shop',
		q{SELECT state = 'no worker slot' FROM order_guard.stat_worker}),
	'stat_worker says so');

my ($rc, $out, $err) =
  $node->psql('shop', q{SELECT * FROM order_guard.scan('1 s')});
like($err, qr/No background worker slot is free/, 'scan() says so');
is($node->safe_psql('postgres', 'SELECT state FROM order_guard.stat_worker'),
	'running', 'the worker that there is goes on');

# One slot becomes free.
$node->safe_psql('postgres', 'DROP EXTENSION order_guard');
is($node->safe_psql('shop', q{SELECT count(*) FROM order_guard.scan()}),
	1, 'the other database is served now');
my $log = substr(slurp_file($node->logfile), $offset);
my @lines = $log =~ /(found no free background worker slot)/g;
is(scalar @lines, 1, 'said once');
unlike($log, qr/FATAL/, 'nothing fatal');
$node->stop('fast');
done_testing();
