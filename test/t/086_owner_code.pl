# What the owner of a table wrote runs in the worker as that owner, ends when
# its time is over, and leaves nothing behind in that process.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('owner_code');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '1h'
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub worker { return sql('SELECT pid FROM order_guard.stat_worker'); }

sub error_of
{
	return sql(qq{SELECT last_error FROM order_guard.watches
		WHERE relation = 'shop.$_[0]'::regclass});
}

# A table of the owner whose status is what a function of his says.
sub expression
{
	my ($name, $body) = @_;
	sql(qq{SET ROLE shop;
		CREATE TABLE shop.$name (id int PRIMARY KEY, n int);
		CREATE FUNCTION shop.$name(int) RETURNS text IMMUTABLE
			LANGUAGE plpgsql AS \$\$ $body \$\$;
		SELECT order_guard.watch('shop.$name', '(shop.$name(n))',
			'{"x": "1 us"}');
		INSERT INTO shop.$name VALUES (1, 1)});
	return;
}

sql(q{CREATE EXTENSION order_guard; CREATE ROLE shop;
	CREATE SCHEMA shop AUTHORIZATION shop});
scan($node);
my $worker = worker();

expression('stubborn', q{BEGIN
	LOOP
		BEGIN
			PERFORM pg_sleep(1000);
		EXCEPTION WHEN query_canceled THEN NULL;
		END;
	END LOOP;
	END});
expression('fatal', q{BEGIN
	PERFORM set_config('exit_on_error', 'on', false), 1 / (n - n)
	FROM generate_series(1, 1) n;
	RETURN 'x';
	END});
sql(q{SET ROLE shop; CREATE FUNCTION shop.create_type() RETURNS void
	LANGUAGE sql AS 'CREATE TYPE pg_temp.phase AS ENUM (''x'')'});
expression('temporary', q{BEGIN
	PERFORM shop.create_type();
	RETURN 'x';
	END});
expression('locking', q{BEGIN
	PERFORM pg_advisory_lock(42);
	RETURN 'x';
	END});
expression('setting', q{BEGIN
	PERFORM set_config('shop.mine', 'x', false),
		set_config('search_path', 'shop', false);
	RETURN 'x';
	END});
expression('spying', q{BEGIN
	RETURN coalesce(nullif(current_setting('shop.mine', true), ''), 'y');
	END});
scan($node);

like(error_of('stubborn'), qr/^canceling statement/,
	'its time is over, even if it catches that');
like(error_of('fatal'), qr/exit_on_error/, 'no error ends the worker');
like(error_of('temporary'), qr/temporary/, 'nothing temporary');
is(sql(q{SELECT count(*) FROM pg_namespace WHERE nspname ~ '^pg_temp'}), 0,
	'not even its schema');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0,
	'no advisory locks');
is(sql(q{SELECT string_agg(DISTINCT relation::text, ' ')
	FROM order_guard.incidents WHERE kind = 'stalled'}),
	'shop.locking shop.setting', 'no settings');

# A handler may do what its owner may do, and no more.  This one is for an
# order whose status shows what is left of its last call.
sql(q{SET ROLE shop;
	CREATE TABLE shop.orders (id int PRIMARY KEY, status text);
	CREATE TABLE shop.log (who text);
	CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO shop.log VALUES (current_user);
			RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON shop.orders
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
		EXECUTE FUNCTION shop.note();
	CREATE FUNCTION shop.left() RETURNS bigint LANGUAGE sql AS
		$$ SELECT count(*) FROM pg_cursors WHERE name = 'left' $$;
	CREATE FUNCTION shop.state(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
		AS $$ BEGIN RETURN $1 || CASE WHEN shop.left() > 0 THEN ' open' ELSE ''
			END || coalesce(current_setting('shop.other', true), ''); END $$;
	CREATE FUNCTION shop.handle(incident bigint) RETURNS jsonb
		LANGUAGE sql AS 'SELECT NULL::jsonb';
	SELECT order_guard.watch('shop.orders', '(shop.state(status))',
		'{"PAYING": "1 us"}',
		options => '{"handlers": {"stalled": "shop.handle"}}');
	INSERT INTO shop.orders VALUES (1, 'PAYING'), (2, 'PAID')});
scan($node);
my $incident = sql(q{SELECT id FROM order_guard.incidents
	WHERE relation = 'shop.orders'::regclass AND state = 'open'});

sub handle
{
	my ($body) = @_;
	sql(qq{SET ROLE shop;
		CREATE OR REPLACE FUNCTION shop.handle(incident bigint)
			RETURNS jsonb LANGUAGE plpgsql AS
			\$\$ DECLARE c refcursor := 'left'; BEGIN $body;
				RETURN '{"resolved": true}'; END \$\$;
		SELECT order_guard.resolve($incident, 'handler')});
	scan($node);
	return sql(qq{SELECT result || ': ' || detail FROM order_guard.action
		WHERE incident = $incident ORDER BY id DESC LIMIT 1});
}

for my $body (
	$node->pg_version >= 17 ?
		q{PERFORM set_config('transaction_timeout', '1ms', false)} : (),
	q{ALTER ROLE shop SUPERUSER},
	q{RESET ROLE},
	q{SET SESSION AUTHORIZATION DEFAULT},
	q{RESET SESSION AUTHORIZATION},
	q{PERFORM set_config('role', 'postgres', false)},
	q{PERFORM set_config('session_replication_role', 'replica', false)},
	q{PERFORM set_config('exit_on_error', 'on', false)},
	q{UPDATE order_guard.incident SET state = 'resolved'},
	q{DELETE FROM order_guard.action},
	q{PERFORM pg_terminate_backend(pg_backend_pid())},
	q{PERFORM pg_cancel_backend(pg_backend_pid())},
	q{LISTEN orders},
	q{COPY shop.log TO PROGRAM 'true'},
	q{PREPARE evil AS SELECT 1},
	q{DEALLOCATE ALL},
	q{DECLARE evil CURSOR WITH HOLD FOR SELECT 1},
	q{CREATE TEMPORARY TABLE evil ON COMMIT DROP AS SELECT 1},
	q{CREATE VIEW pg_temp.evil AS SELECT 1},
	q{CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE sql AS 'SELECT 1'},
	q{CREATE DOMAIN pg_temp.evil AS int})
{
	my $statement = $body =~ /^PERFORM/ ? $body :
	  "EXECUTE " . "\$_\$$body\$_\$";
	$statement =~ s/\\//g;
	like(handle($statement), qr/^failed: 42501/, $body);
}
like(handle('COMMIT'), qr/^failed: 2D000/, 'no COMMIT');
like(handle(q{PERFORM pg_export_snapshot()}), qr/^failed: /,
	'no snapshot');
is(sql(q{SELECT count(*) FROM pg_namespace WHERE nspname ~ '^pg_temp'}), 0,
	'nothing temporary is left');

my $still = 'refused: it says resolved, but the order is still PAYING';
is(handle(q{OPEN c FOR SELECT 1}), $still, 'no cursor is left');
is(handle(q{PERFORM set_config('shop.other', ' set', false)}), $still,
	'nor a setting');
is(handle(q{PERFORM pg_advisory_lock(42)}), $still, 'nor a lock');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0,
	'also when it ended well');
is(handle(q{NOTIFY shop}), $still, 'NOTIFY is for everybody');
is(handle(q{EXECUTE 'DROP FUNCTION shop.handle'}), $still,
	'it may drop itself');

# A deferred trigger would run when the worker commits, as the superuser.
is(handle(q{UPDATE shop.orders SET status = status WHERE id = 2}), $still,
	'a deferred trigger');
is(sql('SELECT who FROM shop.log'), 'shop', 'has run as the owner');
like(handle(q{SET CONSTRAINTS ALL DEFERRED;
	UPDATE shop.orders SET status = status WHERE id = 2}),
	qr/^failed: 42501: cannot fire deferred trigger/, 'and at once');

# Row security that its owner wants to be bound by.
sql(q{ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
	ALTER TABLE shop.orders FORCE ROW LEVEL SECURITY});
like(sql(qq{SELECT r.result FROM order_guard.resolve($incident, 'handler') r}),
	qr/queued/, 'asked by a superuser');
sql(q{CREATE OR REPLACE FUNCTION shop.handle(incident bigint) RETURNS jsonb
	LANGUAGE plpgsql AS $$ BEGIN UPDATE shop.orders SET status = 'PAID';
	RETURN NULL; END $$});
scan($node);
like(sql(qq{SELECT detail FROM order_guard.action WHERE incident = $incident
	ORDER BY id DESC LIMIT 1}), qr/^42501: query would be affected by row-/,
	'is not set aside');
sql(q{ALTER TABLE shop.orders NO FORCE ROW LEVEL SECURITY});

# Two wait for each other: the worker gives way.
my $person = session($node);
my $scanner = $node->background_psql('postgres', on_error_stop => 0);
$person->query(q{BEGIN; SELECT FROM pg_advisory_xact_lock(7); UPDATE shop.orders SET status = status WHERE id = 2});
sql(q{SET ROLE shop; CREATE OR REPLACE FUNCTION
	shop.handle(incident bigint) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
	UPDATE shop.orders SET status = 'PAID' WHERE id = 1;
	WHILE EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')
		AND NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	SET LOCAL lock_timeout = 0;
	UPDATE shop.orders SET status = 'PAID' WHERE id = 2;
	RETURN '{"resolved": true}'; END $$});
sql(qq{SET ROLE shop; SELECT order_guard.resolve($incident, 'handler')});
$scanner->query_until(qr/asked/, "\\echo asked\nSELECT order_guard.scan();\n");
$node->poll_query_until('postgres', qq{SELECT wait_event = 'PgSleep'
	FROM pg_stat_activity WHERE pid = $worker}) or die;
$person->query(q{UPDATE shop.orders SET status = status WHERE id = 1});
$person->query('COMMIT');
is($person->{err}, '', 'nobody else has an error');
ok(scan_until($node, qq{SELECT state = 'resolved' FROM order_guard.incident
	WHERE id = $incident}), 'and it is done later');
$scanner->quit;

is(worker(), $worker, 'all in the same worker');
$node->stop('fast');
done_testing();
