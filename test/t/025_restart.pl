# What is open stays open, once, over the end of a worker, a restart and a
# crash; what nobody remembers is looked at again.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('restart');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '100ms'
order_guard.vanish_grace = '1s'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub scan { return sql('SELECT count(*) FROM order_guard.scan()'); }

# The open and the closed incidents.
sub incidents
{
	scan();
	return sql(q{SELECT string_agg(concat_ws(' ', kind, key, count, state),
		', ' ORDER BY key, id) FROM order_guard.incidents});
}

sql(q{CREATE TABLE orders (id int PRIMARY KEY, status text);
	INSERT INTO orders VALUES (1, 'PAYING'), (2, 'PAYING')});
sql(q{SELECT order_guard.watch('orders', 'status',
	'{"PAYING": "1 us", "SENT": "1 h"}')});
scan();
sql(q{INSERT INTO orders VALUES (3, 'PAYING'), (4, 'PAYING'), (5, 'SENT')});
my $all = 'stalled 3 1 open, stalled 4 1 open, stalled 2 open';
is(incidents(), $all, 'two stalled orders and a backlog of two');

# The worker ends, by itself and told so.
my $pid = sql('SELECT pid FROM order_guard.stat_worker');
sql("SELECT pg_terminate_backend($pid)");
is(incidents(), $all, 'the same after the worker has ended');
cmp_ok(sql('SELECT pid FROM order_guard.stat_worker'), '!=', $pid,
	'it was another worker');
is(sql('SELECT tracked FROM order_guard.stat_worker'), 5, 'all tracked');

$node->restart;
is(incidents(), $all, 'the same after a restart');

# Changes made while no worker runs are in the journal.
sql(q{ALTER SYSTEM SET order_guard.naptime = '1h'});
$node->reload;
scan();
sql(q{UPDATE orders SET status = 'PAID' WHERE id = 3});
sql(q{INSERT INTO orders VALUES (6, 'PAYING')});
$node->stop('immediate');
$node->start;
is( incidents(),
	'stalled 3 1 cleared, stalled 4 1 open, stalled 6 1 open, '
	  . 'stalled 2 open',
	'what happened before a crash was not forgotten');

# Nobody tracks it any more: it moved on, or is gone, or still there.
sql(q{ALTER TABLE orders DISABLE TRIGGER USER;
	UPDATE orders SET status = 'PAID' WHERE id = 4;
	ALTER TABLE orders ENABLE ALWAYS TRIGGER "00_order_guard_candidate";
	ALTER TABLE orders ENABLE ALWAYS TRIGGER "00_order_guard_change";
	ALTER TABLE orders ENABLE ALWAYS TRIGGER "00_order_guard_truncate";
	DELETE FROM order_guard.tracked WHERE key IN ('4', '6')});
sql(q{SELECT pg_terminate_backend(pid) FROM order_guard.stat_worker});
is( incidents(),
	'stalled 3 1 cleared, stalled 4 1 cleared, stalled 6 1 open, '
	  . 'stalled 2 open',
	'an incident without its order is looked at by the next worker');

# What a watch leaves behind.
sql(q{SELECT order_guard.unwatch('orders')});
$node->restart;
scan();
is(sql(q{SELECT count(*) FROM order_guard.incidents WHERE state = 'open'}),
	0, 'nothing is open of what is not watched');
is(sql('SELECT count(*) FROM order_guard.tracked'), 0, 'nothing tracked');

# Without its state, as after a restore, a watch is swept.
sql(q{UPDATE orders SET status = 'PAYING'});
sql(q{SELECT order_guard.watch('orders', 'status', '{"PAYING": "1 us"}')});
scan();
sql('DELETE FROM order_guard.watch_state');
sql('DELETE FROM order_guard.tracked');
$node->restart;
scan();
is(sql(q{SELECT sum(count) FROM order_guard.incidents
	WHERE state = 'open' AND kind = 'stalled'}), 6, 'found again');
$node->stop('fast');
done_testing();
