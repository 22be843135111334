# A day of a shop in less than a minute: many sessions, customers who give up
# and try again, old rows, a purge, a gateway that is out for a while.  Few
# incidents, none false, and in the end only what really is stuck is open.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('day');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '200ms'
order_guard.vanish_grace = '2s'
order_guard.storm_threshold = 10
max_connections = 50
fsync = off
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub scan { return sql('SELECT count(*) FROM order_guard.scan()'); }

# Old rows: finished ones, and some that nobody ever finished.
sql(q{
	CREATE EXTENSION order_guard;
	CREATE TABLE shop (up boolean);
	INSERT INTO shop VALUES (true);
	CREATE SEQUENCE order_id START 1000000;
	CREATE TABLE orders (id bigint PRIMARY KEY, token text UNIQUE,
		status text NOT NULL, total numeric(10, 2), customer int,
		updated_at timestamptz DEFAULT now());
	CREATE INDEX ON orders (status) WHERE status IN ('NEW', 'PAYING');
	INSERT INTO orders SELECT i, 'old ' || i,
		CASE WHEN i % 6 = 0 THEN 'PAYING' ELSE 'DONE' END, 10, i % 100
	FROM generate_series(1, 120000) i;
	ANALYZE orders});
sql(q{SELECT order_guard.watch('orders', 'status',
	'{"NEW": "20 s", "PAYING": "3 s"}', '{DONE,CANCELLED}',
	token => 'token', amount => 'total', customer => 'customer')});

# One customer's visit.  Three in a hundred orders are refused by the
# business and placed again under another id; the others are paid for, which
# is two transactions, while the gateway is up.
my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/visit.sql", q{
\set refused random(1, 100)
\set again random(1, 3)
SELECT nextval('order_id') AS id \gset
BEGIN;
INSERT INTO orders VALUES (:id, 'visit ' || :id, 'NEW', 10, :client_id);
\if :refused <= 3
ROLLBACK;
SELECT nextval('order_id') AS id \gset
BEGIN;
INSERT INTO orders VALUES (:id, 'visit ' || :id, 'NEW', 10, :client_id);
\endif
UPDATE orders SET total = total + :again, updated_at = now() WHERE id = :id;
COMMIT;
BEGIN;
UPDATE orders SET status = 'PAYING', updated_at = now() WHERE id = :id;
COMMIT;
UPDATE orders SET status = 'DONE', updated_at = now()
WHERE id = :id AND (SELECT up FROM shop);
});
append_to_file("$dir/gateway.sql", q{
UPDATE orders SET status = 'DONE' WHERE id IN (SELECT id FROM orders
	WHERE status = 'PAYING' AND id >= 1000000 AND (SELECT up FROM shop)
	ORDER BY id LIMIT 50 FOR UPDATE SKIP LOCKED);
\sleep 50 ms
});

sub start_clients
{
	my ($file, $clients, $rate, $seconds) = @_;
	my $log = "$dir/log." . int(rand(1e9));
	my $run = IPC::Run::start(
		[
			'pgbench', '-n', '-f', "$dir/$file", '-c', $clients, '-R', $rate,
			'-T', $seconds, '-h', $node->host, '-p', $node->port, 'postgres'
		],
		'>', $log, '2>&1');
	return [ $run, $log ];
}

sub finish_clients
{
	foreach my $client (@_)
	{
		my $fine = $client->[0]->finish;
		ok($fine, 'the shop had no errors') or diag slurp_file($client->[1]);
	}
}

my @clients =
  (start_clients('visit.sql', 8, 100, 24), start_clients('gateway.sql', 1, 20, 24));

# Morning: nothing is amiss but what is old.
sleep_until(q{SELECT count(*) > 300 FROM orders
	WHERE id >= 1000000 AND status = 'DONE'});
sleep_until('SELECT count(*) > 0 FROM order_guard.incidents');
is(sql(q{SELECT string_agg(concat_ws(' ', kind, key, state), ', ')
	FROM order_guard.incidents}), 'stalled open',
	'one incident for all old rows');

# Noon: 10^5 finished orders are purged.
is(sql(q{WITH gone AS (DELETE FROM orders WHERE status = 'DONE'
	AND id < 1000000 RETURNING 1) SELECT count(*) FROM gone}),
	100000, 'purged');

# Afternoon: the gateway is out until orders are late.
sql('UPDATE shop SET up = false');
sleep_until(q{SELECT count(*) > 0 FROM order_guard.incidents
	WHERE kind = 'storm' AND state = 'open'});
sql('UPDATE shop SET up = true');

# A customer whose order is lost, one whose order stays in the shop, one
# whose order is deleted.
my ($rc, $out, $err) = $node->psql('postgres', q{BEGIN;
	INSERT INTO orders VALUES (501, 'lost', 'NEW', 99, 1);
	SELECT 1 / 0; COMMIT}, on_error_stop => 0);
sql(q{INSERT INTO orders VALUES (502, 'stuck', 'PAYING', 98, 2)});
sql(q{INSERT INTO orders VALUES (503, 'gone', 'PAYING', 97, 3)});
sql('DELETE FROM orders WHERE id = 503');
finish_clients(@clients);

# Evening: the gateway works off what is left, support closes old orders.
sql(q{UPDATE orders SET status = 'CANCELLED' WHERE id < 1000000
	AND id % 6 = 0 AND status = 'PAYING' AND token LIKE 'old%'
	AND id <> 6});
sql(q{UPDATE orders SET status = 'DONE' WHERE id >= 1000000
	AND status = 'PAYING'});
sleep_until(q{SELECT count(*) = 0 FROM order_guard.incidents
	WHERE state = 'open' AND kind = 'storm'});
scan();
sleep_until('SELECT sweep IS NULL FROM order_guard.watches');
scan();

sub sleep_until
{
	my ($question) = @_;
	ok($node->poll_query_until('postgres', $question), 'waited for it')
	  or diag sql('SELECT * FROM order_guard.incidents');
	return;
}

my $list = sql(q{SELECT string_agg(concat_ws(' ', kind, coalesce(key, '-'),
	count, state), ', ' ORDER BY kind, key, id) FROM order_guard.incidents});
note $list;
cmp_ok(sql('SELECT count(*) FROM order_guard.incidents'), '<', 20,
	'less than 20 incidents');
is( sql(q{SELECT string_agg(concat_ws(' ', kind, coalesce(key, '-'), count),
		', ' ORDER BY kind, key) FROM order_guard.incidents
		WHERE state = 'open'}),
	'deleted 503 1, stalled 502 1, stalled - 1, vanished 501 1',
	'open is what really is stuck, deleted or lost');
is( sql(q{SELECT count(*) FROM order_guard.incidents
		WHERE kind NOT IN ('stalled', 'storm', 'deleted', 'vanished')}),
	0, 'nothing else was ever amiss');
is( sql(q{SELECT count(*) FROM order_guard.incidents
		WHERE kind = 'vanished' AND key <> '501'}),
	0, 'no order that was placed again has vanished');
is( sql(q{SELECT count(*) FROM order_guard.attempt WHERE verdict = 'replaced'})
	  > 0, 1, 'though some were placed again');
is( sql(q{SELECT count(*) FROM order_guard.attempt a
		WHERE verdict = 'replaced' AND NOT EXISTS (SELECT FROM orders o
			WHERE o.customer = a.customer::int AND o.id > a.key::int)}),
	0, 'each of them for another of the same customer');
is(sql('SELECT errors FROM order_guard.stat_worker'),
	0, 'no tick failed');
is( sql('SELECT tracked FROM order_guard.stat_worker'),
	sql(q{SELECT count(*) FROM orders WHERE status IN ('NEW', 'PAYING')}),
	'tracked is what is unfinished');
is(sql('SELECT dropped FROM order_guard.stat_worker'), 0, 'nothing dropped');
$node->stop('fast');
done_testing();
