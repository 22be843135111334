# Handlers: functions of a table's owner, run by the worker.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('handlers');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '1h'
restart_after_crash = on
});
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub try { return ($node->psql('postgres', $_[0]))[2]; }
sub tick { return scan($node); }

my $handlers = 0;

# A table of the owner's with one stuck order, and a handler; the incident.
sub stuck
{
	my ($name, $body, %options) = @_;
	my $language = $options{language} // 'plpgsql';
	my $timeout = $options{timeout} // '5 s';
	sql(qq{SET ROLE shop;
		CREATE TABLE shop.$name (id int PRIMARY KEY, status text);
		CREATE FUNCTION shop.handle_$name(incident bigint) RETURNS jsonb
			LANGUAGE $language AS \$\$ $body \$\$;
		SELECT order_guard.watch('shop.$name', 'status', '{"PAYING": "1 us"}',
			options => '{"handlers": {"stalled": "shop.handle_$name"},
				"handler_timeout": "$timeout"}');
		INSERT INTO shop.$name VALUES (1, 'PAYING')});
	tick();
	return incident($name);
}

sub incident
{
	return sql(qq{SELECT id FROM order_guard.incidents WHERE kind = 'stalled'
		AND state = 'open' AND relation = 'shop.$_[0]'::regclass});
}

# Asks for the handler as the owner.
sub ask
{
	return sql(qq{SET ROLE shop; SELECT result
		FROM order_guard.resolve($_[0], 'handler')});
}

sub result
{
	return sql(qq{SELECT result || ': ' || detail FROM order_guard.action
		WHERE incident = $_[0] AND action = 'handler'
		ORDER BY result = 'refused' AND started_at IS NULL, id DESC
		LIMIT 1});
}

sub state
{
	return sql(qq{SELECT state || coalesce(': ' || resolution, '')
		FROM order_guard.incidents WHERE id = $_[0]});
}

sub ask_and_tick
{
	ask($_[0]);
	tick();
	return result($_[0]);
}

sql(q{CREATE EXTENSION order_guard;
	CREATE ROLE shop; CREATE ROLE thief;
	GRANT EXECUTE ON FUNCTION order_guard.scan(interval) TO shop;
	CREATE SCHEMA shop AUTHORIZATION shop});
tick();
my $worker = sql('SELECT pid FROM order_guard.stat_worker');

# It does what it is for.
my $id = stuck('good', q{DECLARE i record; BEGIN
	SELECT * INTO i FROM order_guard.incidents WHERE id = incident;
	UPDATE shop.good SET status = 'PAID'
	WHERE id = i.key::int AND status = i.status;
	RETURN '{"resolved": true, "note": "the gateway has it", "ref": 17}';
	END});
is(ask($id), 'queued', 'queued');
is(sql(qq{SELECT result FROM order_guard.resolve($id, 'handler')}), 'refused',
	'once');
tick();
is(result($id), 'done: the gateway has it', 'done');
is(state($id), 'resolved: the gateway has it by handler of stalled',
	'the incident ends');
is(sql('SELECT status FROM shop.good'), 'PAID', 'with the order');
is(sql(qq{SELECT proof - 'ms' FROM order_guard.actions WHERE incident = $id
	AND result = 'done'}), '{"lock": "row of the incident", "found": {"status": '
	  . '"PAID"}, "handler": "shop.handle_good", "expected": {"status": '
	  . '"PAYING"}, "returned": {"ref": 17, "note": "the gateway has it", '
	  . '"resolved": true}}', 'and its proof');

# It is not believed.
$id = stuck('liar', q{BEGIN RETURN '{"resolved": true}'; END});
is(ask_and_tick($id),
	'refused: it says resolved, but the order is still PAYING', 'a lie');
is(state($id), 'open', 'ends nothing');
$id = stuck('eraser', q{BEGIN DELETE FROM shop.eraser;
	RETURN '{"resolved": true}'; END});
is(ask_and_tick($id), 'refused: it says resolved, but the order is gone',
	'an order that is gone was not resolved');
tick();
like(state($id), qr/^cleared/, 'the worker says so itself');

# What is no result undoes what was done.
for my $case (
	[ 'array', q{'[1]'}, qr/not a JSON object/ ],
	[ 'scalar', q{'true'}, qr/not a JSON object/ ],
	[ 'yes', q{'{"resolved": "yes"}'}, qr/"resolved" that is not a boolean/ ],
	[ 'big', q{jsonb_build_object('x', repeat('x', 100000000))},
		qr/100000\d+ bytes, more than 65536/ ],
	[ 'deep', q{shop.handle_deep(incident)}, qr/^failed: 54001: stack depth/ ],
	[ 'scanner', q{to_jsonb((SELECT s FROM order_guard.scan('1 h') s))},
		qr/^failed: 55000: scan/ ],
	[ 'lines', q{jsonb_build_object('x', format(E'1\nLOG:  2')::int)},
		qr/^failed: 22P02: invalid input .*: "\.\.\."$/ ])
{
	my ($name, $value, $expected) = @$case;
	$id = stuck($name, qq{BEGIN UPDATE shop.$name SET status = 'PAID';
		RETURN $value; END}, timeout => '1 min');
	like(ask_and_tick($id), $expected, "$name is refused");
	is(sql("SELECT status FROM shop.$name"), 'PAYING', 'and undone');
}
$id = stuck('speaker', q{BEGIN RAISE EXCEPTION E'1\nLOG:  2'; END});
is(ask_and_tick($id), 'failed: P0001: 1 LOG:  2',
	'what it raises it says to all who may see the incident');
$id = stuck('nothing', q{BEGIN RETURN NULL; END});
is(ask_and_tick($id), 'done: has run', 'nothing to say');
is(state($id), 'open', 'nothing ends');

# Time: one that sleeps, one that loops, one that will not hear of it, one
# that sets the limit aside.  Others are served meanwhile.
sql(q{CREATE TABLE other (id int PRIMARY KEY, status text);
	SELECT order_guard.watch('other', 'status', '{"PAYING": "1 us"}')});
my %slow = (
	sleeper => q{BEGIN PERFORM pg_sleep(1000); RETURN NULL; END},
	looper => q{BEGIN LOOP END LOOP; END},
	stubborn => q{BEGIN LOOP BEGIN PERFORM pg_sleep(1000);
		EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END},
	free => q{BEGIN PERFORM set_config('statement_timeout', '0', false),
		set_config('lock_timeout', '0', false);
		SET LOCAL statement_timeout = 0;
		PERFORM pg_sleep(1000); RETURN NULL; END},
	counter => q{BEGIN PERFORM count(*) FROM generate_series(1, 1000000000000);
		RETURN NULL; END},
	nested => q{BEGIN RETURN shop.nest(200); END});
sql(q{SET ROLE shop; CREATE FUNCTION shop.nest(n int) RETURNS jsonb
	LANGUAGE plpgsql AS $$ BEGIN
		IF n = 0 THEN PERFORM pg_sleep(1000); END IF;
		RETURN shop.nest(n - 1);
	EXCEPTION WHEN query_canceled THEN
		PERFORM pg_sleep(1000);
		RETURN '{"resolved": true}';
	END $$});
my %id = map { $_ => stuck($_, $slow{$_}, timeout => '300 ms') }
  sort keys %slow;
sql(qq{INSERT INTO order_guard.action (incident, action, by, result)
	SELECT $id{sleeper}, 'handler', 'test', 'queued'});
ask($_) for sort values %id;
sql(q{INSERT INTO other VALUES (1, 'PAYING')});
tick() for 1 .. 3;
foreach (sort keys %slow)
{
	like(result($id{$_}), qr/^failed: took longer than 300 ms/, "$_ is ended");
	cmp_ok(sql(qq{SELECT max((proof ->> 'ms')::int) FROM order_guard.action
		WHERE incident = $id{$_}}), '<', 2000, 'in time');
}
is(sql(q{SELECT count(*) FROM order_guard.incidents
	WHERE relation = 'other'::regclass}), 1, 'others are served');
is(sql(qq{SELECT count(*) FROM order_guard.actions WHERE result = 'queued'
	AND incident = $id{sleeper}}), 0, 'asked again while it was queued: no');
ask($id{sleeper});
tick();
is(sql(qq{SELECT count(*) FROM order_guard.actions WHERE result = 'queued'
	AND incident = $id{sleeper}}), 1, 'it rests');
cmp_ok(sql('SELECT tick_ms FROM order_guard.stat_worker'), '<', 300,
	'so nobody waits for it');

# One that takes its time keeps others waiting for a tick only so long.
$id = stuck('slow', q{BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END});
sql(q{INSERT INTO shop.slow SELECT i, 'PAYING' FROM generate_series(2, 5) i});
tick();
sql(q{SET ROLE shop; SELECT order_guard.resolve_all('stalled', 'handler',
	'shop.slow', dry_run => false)});
my $done = q{SELECT count(*) FROM order_guard.action WHERE result = 'done'
	AND detail = 'has run' AND incident IN (SELECT id FROM
	order_guard.incident WHERE relation = 'shop.slow'::regclass)};
tick();
is(sql($done), 3, 'a second of it in one tick');
tick();
is(sql($done), 5, 'the rest in the next');

# Another server that hangs in its COMMIT.
sql(q{CREATE EXTENSION postgres_fdw;
	CREATE TABLE remote (id int);
	GRANT ALL ON remote TO shop;
	CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_sleep(1000); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER hang AFTER INSERT ON remote
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hang()});
sql(sprintf q{CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw
	OPTIONS (host '%s', port '%s', dbname 'postgres');
	GRANT USAGE ON FOREIGN SERVER loop TO shop;
	ALTER ROLE shop LOGIN;
	CREATE USER MAPPING FOR shop SERVER loop
		OPTIONS (user 'shop', password_required 'false');
	SET ROLE shop;
	CREATE FOREIGN TABLE shop.remote (id int) SERVER loop
		OPTIONS (schema_name 'public', table_name 'remote')},
	$node->host, $node->port);
$id = stuck('distant', q{BEGIN INSERT INTO shop.remote VALUES (1);
	UPDATE shop.distant SET status = 'PAID';
	RETURN '{"resolved": true}'; END});
like(ask_and_tick($id), qr/^failed: 57014/, 'is not waited for');
is(sql('SELECT status FROM shop.distant'), 'PAYING', 'nothing is done');
is(state($id), 'open', 'and nothing ends');
ask($id);
tick();
like(result($id), qr/^queued/, 'it rests');

# A transaction that is open is not ended by what a handler says of it.
my $person = session($node);
$id = stuck('word', q{BEGIN
	RETURN jsonb_build_object('resolved', true, 'note', E'a\nb'); END});
sql(q{SET ROLE shop; SELECT order_guard.watch('shop.word', NULL,
	options => '{"handlers": {"duplicate": "shop.handle_word",
		"uncommitted": "shop.handle_word"}}')});
my $client = do { local $ENV{PGUSER} = 'shop'; session($node) };
$client->query('SET order_guard.open_threshold = 0; BEGIN');
$client->query(q{INSERT INTO shop.word VALUES (2, 'PAYING')});
ok(scan_until($node, q{SELECT count(*) = 1 FROM order_guard.incident
	WHERE kind = 'uncommitted'}), 'it is open');
like(ask_and_tick(sql(q{SELECT id FROM order_guard.incident
	WHERE kind = 'uncommitted'})),
	qr/^refused: it says resolved, but uncommitted goes away/, 'still');

# What the worker would have to do meanwhile, for this very handler.
sql(q{SET ROLE shop; CREATE FUNCTION shop.handle_self(incident bigint)
	RETURNS jsonb LANGUAGE sql
	AS $$ SELECT to_jsonb(r) FROM order_guard.resolve(incident, 'terminate') r
	$$;
	SELECT order_guard.watch('shop.word', NULL,
	options => '{"handlers": {"duplicate": "shop.handle_word",
		"uncommitted": "shop.handle_self"}, "handler_timeout": "300 ms"}')});
like(ask_and_tick(sql(q{SELECT id FROM order_guard.incident
	WHERE kind = 'uncommitted'})),
	qr/^failed: 55000: the worker of order_guard cannot be asked from within/,
	'it does not wait for itself');
$client->query('ROLLBACK');
sql(qq{UPDATE order_guard.incident SET kind = 'duplicate' WHERE id = $id});
is(ask_and_tick($id), 'done: a b', 'of what cannot be looked at');
is(state($id), 'resolved: a b by handler of duplicate', 'it is believed');

# Somebody holds the order, or the incident: later.
$id = stuck('locked', q{BEGIN UPDATE shop.locked SET status = 'PAID'
	WHERE id = (SELECT key::int FROM order_guard.incidents i
		WHERE i.id = incident);
	RETURN '{"resolved": true}'; END});
sql(q{INSERT INTO shop.locked VALUES (2, 'PAYING')});
tick();
$person->query('BEGIN; SELECT FROM shop.locked WHERE id = 1 FOR UPDATE');
ask($id);
ask($id + 1);
tick();
like(result($id), qr/^queued/, 'the order is locked');
like(state($id + 1), qr/^resolved/, 'another one does not wait for it');
$person->query('COMMIT; BEGIN');
$person->query("SELECT order_guard.acknowledge($id)");
ok(scan_until($node, qq{SELECT result = 'queued' FROM order_guard.actions
	WHERE incident = $id AND action = 'handler'}), 'the incident is locked');
$person->query('COMMIT');
ok(scan_until($node, qq{SELECT state = 'resolved' FROM order_guard.incidents
	WHERE id = $id}), 'done when they are free');

# What it needs goes away under it.
$id = stuck('dropper', q{BEGIN EXECUTE 'DROP TABLE shop.dropper';
	RETURN '{"resolved": true}'; END});
is(ask_and_tick($id),
	'refused: it says resolved, but the order cannot be read', 'its table');
tick();

# Whose function it is.
$id = stuck('owned', q{BEGIN RETURN NULL; END});
sql(q{ALTER FUNCTION shop.handle_owned OWNER TO thief});
is(ask($id), 'refused', 'not the function of somebody else');
sql(q{ALTER FUNCTION shop.handle_owned OWNER TO shop});
is(ask($id), 'queued', 'his own');
sql(q{ALTER FUNCTION shop.handle_owned OWNER TO thief});
tick();
like(result($id), qr/^failed: shop.handle_owned does not belong to the owner/,
	'looked at when it runs');
like(sql(q{SELECT last_error FROM order_guard.watches
	WHERE relation = 'shop.owned'::regclass}), qr/^handler of stalled: shop/,
	'an error of the watch');
sql(q{INSERT INTO shop.owned VALUES (2, 'PAYING')});
tick();
is(sql(q{SELECT count(*) FROM order_guard.incidents
	WHERE relation = 'shop.owned'::regclass}), 2, 'which works all the same');
like(sql(q{SELECT last_error FROM order_guard.watches
	WHERE relation = 'shop.owned'::regclass}), qr/^handler of stalled: shop/,
	'it stays');
sql(q{DROP FUNCTION shop.handle_owned});
tick();
sql(q{SET ROLE shop; CREATE FUNCTION shop.handle_owned(bigint) RETURNS jsonb
	LANGUAGE sql AS 'SELECT NULL::jsonb'});
sql(q{INSERT INTO shop.owned VALUES (3, 'PAYING')});
tick();
is(sql(q{SELECT last_error FROM order_guard.watches
	WHERE relation = 'shop.owned'::regclass}), '', 'mended');
sql(q{CREATE FUNCTION definer(bigint) RETURNS jsonb LANGUAGE sql
	SECURITY DEFINER AS 'SELECT to_jsonb(current_user)';
	CREATE PROCEDURE procedure(bigint) LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION many(bigint) RETURNS SETOF jsonb LANGUAGE sql
	AS 'SELECT NULL::jsonb'});
for my $case (
	[ 'public.definer', 'SECURITY DEFINER' ],
	[ 'public.procedure', 'not a function' ],
	[ 'public.many', 'does not return jsonb' ],
	[ 'handle_owned', 'not a name like schema.function' ],
	[ 'shop.none(1) --', 'not a name like' ],
	[ 'shop.none', 'no function shop.none\(bigint\)' ])
{
	like(try(qq{SET ROLE shop; SELECT order_guard.watch('shop.owned', NULL,
		options => '{"handlers": {"stalled": "$case->[0]"}}')}),
		qr/option handlers: .*$case->[1]/, "$case->[0] is no handler");
}

is(sql('SELECT pid FROM order_guard.stat_worker'), $worker,
	'all in the same worker');

# One that takes the server down is not called again.
$id = stuck('killer', q{BEGIN PERFORM pg_advisory_xact_lock(1);
	PERFORM pg_sleep(1000); RETURN NULL; END}, timeout => '1 min');
ask($id);
$person->query('SELECT 1');
my $scanner = $node->background_psql('postgres', on_error_stop => 0);
$scanner->query_until(qr/asked/, "\\echo asked\nSELECT order_guard.scan();\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks
	WHERE locktype = 'advisory'}) or die;
crash($node, $worker);
ok(scan_until($node, qq{SELECT result = 'failed' FROM order_guard.actions
	WHERE incident = $id}), 'it is told');
is(result($id), 'failed: the worker ended while this ran; it is not tried '
	  . 'again', 'and not tried again');
$node->stop('fast');
done_testing();
