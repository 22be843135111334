# scan() answers or says why not; it never hangs.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('scan');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '1h'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');

my $scan = 'SELECT count(*) FROM order_guard.scan';
is($node->safe_psql('postgres', "$scan()"), 1, 'ticks at once');
my $before = $node->safe_psql('postgres',
	'SELECT ticks FROM order_guard.stat_worker');
is($node->safe_psql('postgres', "$scan()"), 1, 'and again');
cmp_ok($node->safe_psql('postgres',
		'SELECT ticks FROM order_guard.stat_worker'),
	'>', $before, 'in a new tick');

sub refused
{
	my ($sql, $pattern, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	like($err, $pattern, $what);
}

refused("BEGIN; CREATE TABLE t (); $scan(); ROLLBACK",
	qr/cannot see this transaction's own work.*HINT:  COMMIT first/s,
	'own work in the way');
refused("$scan('-1 s')", qr/must not be negative/, 'negative timeout');
refused("$scan(NULL)", qr/must not be null/, 'no timeout');

# A worker that does not answer.
my $pid = $node->safe_psql('postgres',
	'SELECT pid FROM order_guard.stat_worker');
kill 'STOP', $pid;
refused("$scan('100 ms')",
	qr/not served within its timeout.*DETAIL:  The worker .* is busy/s,
	'timeout');
refused("SET statement_timeout = '100 ms'; $scan()",
	qr/canceling statement due to statement timeout/, 'statement_timeout');
kill 'CONT', $pid;
is($node->safe_psql('postgres', "$scan()"), 1, 'served again');

# A tick that fails: here because the extension is not the library's.
my $version = $node->safe_psql('postgres', q{SELECT extversion
	FROM pg_extension WHERE extname = 'order_guard'});
my $offset = -s $node->logfile;
$node->safe_psql('postgres', q{UPDATE pg_extension SET extversion = '0.0'
	WHERE extname = 'order_guard'});
for (1 .. 3)
{
	refused("$scan()",
		qr/tick failed.*DETAIL:  55000: .* is version 0\.0, but the library/s,
		'the worker\'s error');
}
is( $node->safe_psql('postgres',
		q{SELECT state, errors, last_error LIKE '%version 0.0%'
		  FROM order_guard.stat_worker}),
	'failing|3|t', 'stat_worker shows it');
my @lines = substr(slurp_file($node->logfile), $offset) =~
  /(order_guard tick failed)/g;
is(scalar @lines, 1, 'logged once');
$node->safe_psql('postgres', qq{UPDATE pg_extension
	SET extversion = '$version' WHERE extname = 'order_guard'});
is($node->safe_psql('postgres', "$scan()"), 1, 'recovered');
is($node->safe_psql('postgres', 'SELECT pid FROM order_guard.stat_worker'),
	$pid, 'in the same worker');

# Who may look.
$node->safe_psql('postgres', 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
my @watcher = (extra_params => [ '-U', 'watcher' ]);
is( $node->safe_psql('postgres', 'SELECT state FROM order_guard.stat_worker',
		@watcher),
	'running', 'pg_monitor reads stat_worker');
my ($rc, $out, $err) = $node->psql('postgres', "$scan()", @watcher);
like($err, qr/permission denied/, 'scan() is not for everybody');
$node->stop('fast');
done_testing();
