# A session's records are read in the order in which it wrote them, whichever
# segments it was given.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('lease_order');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '1h'
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION order_guard;
	CREATE TABLE orders (id integer PRIMARY KEY, status text);
	SELECT order_guard.watch('orders', 'status', '{"PAYING": "1 hour"}');
	SELECT order_guard.scan();
});

# The first session leaves a part-filled segment to which the second one, in
# a segment of its own already, must not go back.
my $first = $node->background_psql('postgres');
my $second = $node->background_psql('postgres');
$first->query_safe(q{INSERT INTO orders VALUES (-1, 'NEW')});
$second->query_safe(q{INSERT INTO orders VALUES (0, 'NEW')});
$first->quit;
$second->query_safe(q{DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		INSERT INTO orders VALUES (i, 'PAYING');
	END LOOP;
END
$$});
$second->query_safe(q{
	BEGIN;
	INSERT INTO orders VALUES (401, 'PAYING');
	DO $$ BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN END $$;
});
$second->quit;
$node->safe_psql('postgres', 'SELECT order_guard.scan()');
is($node->safe_psql('postgres', 'SELECT count(*) FROM order_guard.tracked'),
	400, 'every order is tracked');
is($node->safe_psql('postgres',
		'SELECT key, cause, sqlstate FROM order_guard.attempt'),
	'401|disconnect|', 'an error that was caught is no reason');
$node->stop;
done_testing();
