# Statements that need a database to themselves find no worker in the way, and
# the worker comes back if they fail.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('databases');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '100ms'
});
$node->start;

sub served
{
	my ($database, $what) = @_;
	is( $node->safe_psql($database, 'SELECT count(*) FROM order_guard.scan()'),
		1, $what);
	return $node->safe_psql($database,
		'SELECT pid FROM order_guard.stat_worker');
}

sub guarded
{
	my ($database) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION order_guard');
	return served($database, "$database is served");
}

# The three statements, while the worker runs.
guarded('shop');
$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO store');
served('store', 'served after RENAME');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE store');
served('copy', 'the copy is served');
served('store', 'served after being a template');
$node->safe_psql('postgres', 'DROP DATABASE copy');
is($node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_database WHERE datname = 'copy'}),
	0, 'dropped');

my $directory = PostgreSQL::Test::Utils::tempdir;
$node->safe_psql('postgres', "CREATE TABLESPACE other LOCATION '$directory'");
$node->safe_psql('postgres', 'ALTER DATABASE store SET TABLESPACE other');
my $pid = served('store', 'served after SET TABLESPACE');

# Statements that fail: the worker had to go, and comes back.
my $session = $node->background_psql('store');
$session->query('SELECT 1');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE store');
like($err, qr/There is 1 other session using the database/,
	'only the other session is in the way');
isnt(served('store', 'served after a failed DROP'), $pid, 'by a new worker');
$session->quit;

# Several in a transaction that is rolled back.
$node->safe_psql('postgres', q{
BEGIN;
ALTER DATABASE store RENAME TO one;
ALTER DATABASE one RENAME TO two;
ROLLBACK});
$pid = served('store', 'served after a rolled back RENAME');

# A session that dies with a hold gives it back.
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query('BEGIN; ALTER DATABASE store RENAME TO held');
my $holder = $session->query('SELECT pg_backend_pid()');
ok( $node->poll_query_until('postgres',
		qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)}),
	'no worker while the transaction is open');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($holder, 10000)");
eval { $session->quit };
$pid = served('store', 'served after the holder was terminated');

# Who may not run the statement does not stop the worker.
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
for my $statement ('DROP DATABASE store', 'ALTER DATABASE store RENAME TO x',
	'CREATE DATABASE x TEMPLATE store',
	'ALTER DATABASE store SET TABLESPACE pg_default')
{
	($rc, $out, $err) = $node->psql('postgres', $statement,
		extra_params => [ '-U', 'nobody' ]);
	like($err, qr/must be owner|permission denied/, "refused: $statement");
}
is(served('store', 'still served'), $pid, 'by the same worker');

# A database without the extension is nobody's business, and goes at once even
# while workers are busy elsewhere.
$node->safe_psql('postgres', 'CREATE DATABASE bare');
$node->safe_psql('postgres', q{SET statement_timeout = '30s';
DROP DATABASE bare});
is(served('store', 'still served'), $pid, 'by the same worker');
$node->safe_psql('postgres', 'DROP DATABASE store WITH (FORCE)');

$node->stop('fast');
unlike(slurp_file($node->logfile), qr/database "\w+" does not exist/,
	'no worker was sent to a database that is gone');
done_testing();
