# Dooms end with their database, or the extension in it: they take no place
# from those of other databases.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('doomed', q{
max_connections = 100
order_guard.open_threshold = 1ms
});

# Has n open transactions doomed, which then roll back: their worker would note
# that in its next tick.  What became of the actions so far.
sub doom
{
	my ($database, $n) = @_;
	my @clients = map { session($node, dbname => $database) } 1 .. $n;

	$clients[$_]->query("BEGIN; INSERT INTO orders VALUES ($_, 'SUBMITTED')")
	  for 0 .. $n - 1;
	my $result = $node->safe_psql($database, qq{
		SELECT count(*) FROM order_guard.scan();
		SELECT count(r.result) FROM order_guard.incidents i,
			order_guard.resolve(i.id, 'doom') r
		WHERE i.kind = 'uncommitted' AND i.state = 'open';
		SELECT count(*) FROM order_guard.scan();
		SELECT string_agg(DISTINCT a.result, ' ') FROM (SELECT result
			FROM order_guard.actions WHERE action = 'doom'
			ORDER BY id DESC LIMIT $n) a});
	for my $client (@clients)
	{
		$client->query('ROLLBACK');
		$client->quit;
	}
	return (split /\n/, $result)[-1];
}

sub other_database
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, q{
		CREATE EXTENSION order_guard;
		CREATE TABLE orders (id integer PRIMARY KEY, status text);
		SELECT order_guard.watch('orders', 'status', '{"SUBMITTED": "1 h"}');
		SELECT count(*) FROM order_guard.scan()});
	return;
}

other_database('one');
is(doom('one', 64), 'queued', 'all places are taken');
$node->safe_psql('one', q{SELECT order_guard.unwatch_all();
	DROP EXTENSION order_guard});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1
	FROM pg_stat_activity WHERE backend_type = 'order_guard worker'}),
	'the worker has left');
is(doom('postgres', 2), 'queued', 'there is room after DROP EXTENSION');
scan($node);

# the launcher looks twice
other_database('two');
is(doom('two', 64), 'queued', 'all places are taken again');
$node->safe_psql('postgres', 'DROP DATABASE two');
my $tries = 0;
my $result;
do { $result = doom('postgres', 1) } until $result eq 'queued' or $tries++ > 60;
is($result, 'queued', 'there is room after DROP DATABASE');
done_testing();
