# The worker is killed in the middle of a policy's action: it is done again,
# and was done once.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('killed');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The order's own trigger waits as long as somebody holds a lock.
sql(q{CREATE TABLE moved (id integer, at timestamptz DEFAULT now());
	CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.moved VALUES (new.id);
		WHILE NOT pg_try_advisory_xact_lock(1) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN new;
	END $$;
	CREATE TRIGGER note BEFORE UPDATE ON orders FOR EACH ROW
		EXECUTE FUNCTION note();
	SELECT order_guard.watch('orders', NULL, '{"SUBMITTED": "1 us"}');
	INSERT INTO orders VALUES (1, 'SUBMITTED'), (2, 'SUBMITTED');
	SELECT * FROM order_guard.scan();
	SELECT order_guard.set_policy('move', 'stalled', 'move', '0', 'orders',
		backoff => '1 ms', args => '{"to": "PAID", "guess": true}',
		dry_run => false)});

my $holder = session($node);
$holder->query('SELECT pg_advisory_lock(1)');
my $scanner = session($node);
$scanner->send('SELECT * FROM order_guard.scan();');
my $worker = q{SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'order_guard worker' AND wait_event = 'PgSleep'};
$node->poll_query_until('postgres', "SELECT EXISTS ($worker)")
  or die 'the worker does not come to the trigger';
my $pid = sql($worker);
ok($pid, 'the worker is in the middle of it');
crash($node, $pid);
$_->abandon for $holder, $scanner;

ok(scan_until($node, q{SELECT count(*) = 2 FROM orders
	WHERE status = 'PAID'}), 'the orders were moved after all');
scan($node);
is(sql('SELECT id, count(*) FROM moved GROUP BY id ORDER BY id'), "1|1\n2|1",
	'each of them once');
is(sql("SELECT i.key, a.by, a.result, a.detail, i.state
		FROM order_guard.actions a
		JOIN order_guard.incidents i ON i.id = a.incident ORDER BY i.key"),
	join("\n", map { "$_|policy move|done|moved from SUBMITTED to PAID|resolved"
		} 1, 2), 'and so it is recorded');
is(sql('SELECT done, refused, failed FROM order_guard.policies'), '2|0|0',
	'and counted');

# Busy: the row is locked. That is no try; nor does it stop anybody else.
sql(q{INSERT INTO orders VALUES (3, 'SUBMITTED'), (4, 'SUBMITTED')});
$holder = session($node);
$holder->query(q{BEGIN; SELECT count(*) FROM (SELECT FROM orders WHERE id = 3
	FOR UPDATE) x});
scan_until($node, q{SELECT status = 'PAID' FROM orders WHERE id = 4});
is(sql('SELECT done, refused, failed FROM order_guard.policies'), '3|0|0',
	'whoever is locked is left for later');
$holder->query('ROLLBACK');
ok(scan_until($node, q{SELECT status = 'PAID' FROM orders WHERE id = 3}),
	'and then it is its turn');
$holder->quit;

# An order whose trigger is the end of the worker, each time.
sql(q{CREATE FUNCTION bomb() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		WHILE new.id = 5 LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN new;
	END $$;
	CREATE TRIGGER bomb BEFORE UPDATE ON orders FOR EACH ROW
		EXECUTE FUNCTION bomb();
	SELECT order_guard.set_policy('move', 'stalled', 'move', '0', 'orders',
		backoff => '1 ms', max_tries => 2,
		args => '{"to": "PAID", "guess": true}', dry_run => false);
	INSERT INTO orders VALUES (5, 'SUBMITTED')});
for my $life (1, 2)
{
	my $asker = session($node);
	$asker->send('SELECT * FROM order_guard.scan();');
	$node->poll_query_until('postgres', "SELECT EXISTS ($worker)")
	  or die 'the worker does not come to the trigger';
	crash($node, sql($worker));
	$asker->abandon;
}
ok(scan_until($node, q{SELECT severity = 'critical'
	FROM order_guard.incidents WHERE key = '5'}), 'a person is asked');
is(sql(q{SELECT o.status, a.result, a.detail FROM orders o,
		order_guard.actions a JOIN order_guard.incidents i
			ON i.id = a.incident AND i.key = '5' WHERE o.id = 5}),
	'SUBMITTED|refused|tried 2 times, and not again: '
	. 'a person has to look at it', 'a bound holds across crashes');

$node->stop;
done_testing();
