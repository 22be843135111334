# Somebody's open transaction with watch() in it does not hold up the worker,
# and a sweep that is wanted during another one is not forgotten.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('never_waits');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '1h'
order_guard.max_rows_per_transaction = 1
});
$node->start;

sub scan
{
	return $node->safe_psql('postgres',
		q{SELECT count(*) FROM order_guard.scan('20 s')});
}

sub tracked
{
	return $node->safe_psql('postgres',
		'SELECT count(*) FROM order_guard.tracked');
}

# More than one piece of a sweep.
$node->safe_psql('postgres', q{
	CREATE EXTENSION order_guard;
	CREATE TABLE orders (id integer PRIMARY KEY, status text, filler text)
		WITH (fillfactor = 10);
	ALTER TABLE orders ALTER filler SET STORAGE PLAIN;
	INSERT INTO orders
	SELECT i, 'NEW', repeat('x', 800) FROM generate_series(1, 3000) i;
	SELECT order_guard.watch('orders', 'status', '{"PAYING": "1 hour"}');
});
is(scan(), 1, 'first piece');
is($node->safe_psql('postgres',
		'SELECT sweep_block FROM order_guard.watch_state'),
	2048, 'there is another one');
$node->safe_psql('postgres',
	q{UPDATE orders SET status = 'PAYING' WHERE id <= 5});
scan() for 1 .. 4;
is(tracked(), 5, 'rows behind the sweep are found by the next one');
is($node->safe_psql('postgres', q{SELECT count(*) FROM
	order_guard.watch_state WHERE sweep IS NULL}), 1, 'which has ended');

my $person = $node->background_psql('postgres');
$person->query_safe(q{
	BEGIN;
	SELECT order_guard.watch('orders', 'status', '{"PAYING": "2 hours"}');
});
$node->safe_psql('postgres',
	q{UPDATE orders SET status = 'PAYING' WHERE id BETWEEN 11 AND 15});
is(scan(), 1, 'a tick beside an open watch()');
$person->query_safe('ROLLBACK');
$person->quit;
scan() for 1 .. 4;
is(tracked(), 10, 'what was wanted meanwhile is not forgotten');
$node->stop;
done_testing();
