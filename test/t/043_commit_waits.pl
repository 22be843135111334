# An order whose COMMIT waits for a standby that is not there is reported.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('commit_waits');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.open_threshold = '1ms'
synchronous_standby_names = 'nobody'
synchronous_commit = 'local'
});
$node->start;
$node->safe_psql('postgres', q{
CREATE EXTENSION order_guard;
CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric);
SELECT order_guard.watch('orders', 'status', '{"NEW": "1 h"}',
	amount => 'total');
SELECT order_guard.scan();
});
my $client = IPC::Run::start(
	[ 'psql', '-Xq', '-d', $node->connstr('postgres'),
		'-c', 'SET synchronous_commit = on',
		'-c', q{INSERT INTO orders VALUES (1, 'NEW', 12.50)} ],
	'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1
	FROM order_guard.in_flight WHERE key = '1' AND wait_event = 'SyncRep'}),
	'the order is in flight, in COMMIT');

$node->safe_psql('postgres', 'SELECT order_guard.scan()');
like($node->safe_psql('postgres', q{SELECT kind || ': ' || summary
		FROM order_guard.incidents WHERE state = 'open'}),
	qr/^uncommitted: order 1 of public\.orders \(amount 12\.50\) .*has been in COMMIT for .*, waiting for a standby/,
	'one incident says so');
is($node->safe_psql('postgres', q{SELECT outcome || ' ' || final
		FROM order_guard.outcome('orders', '1')}),
	'in_flight false', 'the answer is in flight');

$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM orders});
$node->safe_psql('postgres', 'SELECT order_guard.scan()');
is($node->safe_psql('postgres', q{SELECT string_agg(kind || ' ' || state, ',')
		FROM order_guard.incidents}),
	'uncommitted cleared', 'it clears when the standby does not matter');
ok(IPC::Run::finish($client), 'the client hears of its commit');
$node->stop;
done_testing();
