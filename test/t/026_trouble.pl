# A watch in trouble is in nobody's way: a table that is locked, a status
# that takes too long, one that cannot be read.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('trouble');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.naptime = '50ms'
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION order_guard');

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub scan { return sql('SELECT count(*) FROM order_guard.scan()'); }

sub stalled
{
	return sql(qq{SELECT coalesce(string_agg(key, ' ' ORDER BY key), '')
		FROM order_guard.incidents WHERE state = 'open' AND kind = 'stalled'
		AND relation = '$_[0]'::regclass});
}

sub tick_ms { return sql('SELECT tick_ms FROM order_guard.stat_worker'); }

sql(q{CREATE TABLE good (id int PRIMARY KEY, status text);
	CREATE TABLE locked (id int PRIMARY KEY, status text);
	CREATE TABLE parts (id int PRIMARY KEY, status text)
		PARTITION BY RANGE (id);
	CREATE TABLE part PARTITION OF parts DEFAULT;
	CREATE TABLE poisoned (id int PRIMARY KEY, n int)});
sql(qq{SELECT order_guard.watch('$_', 'status', '{"PAYING": "1 us"}')})
  foreach qw(good locked parts);
sql(q{SELECT order_guard.watch('poisoned', '(10 / n)',
	'{"10": "1 us"}')});
scan();

# Locked for long: left for later, in a tick that hardly takes longer.
sql(qq{INSERT INTO $_ VALUES (1, 'PAYING')}) foreach qw(locked parts);
scan();
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('BEGIN');
$holder->query_safe("INSERT INTO $_ VALUES (2, 'PAYING')")
  foreach qw(locked parts);
$holder->query_safe('LOCK TABLE locked, part IN ACCESS EXCLUSIVE MODE');
sql(q{UPDATE order_guard.watch_state SET sweep = 'changed'});
sql(q{INSERT INTO good VALUES (1, 'PAYING')});
scan();
cmp_ok(tick_ms(), '<', 400, 'the tick goes on');
is(stalled('good'), '1', 'and does its work elsewhere');
is(sql(q{SELECT count(last_error) FROM order_guard.watches}), 0,
	'a lock is no error');
$holder->query_safe('COMMIT');
$holder->quit;
scan();
scan();
is(stalled('locked'), '1 2', 'looked at as soon as it is free');
is(stalled('parts'), '1 2', 'the same for a partition');

# Rows that cannot be read, all of them: said, but not again and again.
my $offset = -s $node->logfile;
sql(q{INSERT INTO poisoned SELECT i, 0 FROM generate_series(1, 2000) i});
sql(q{INSERT INTO good VALUES (2, 'PAYING')});
scan() for 1 .. 10;
is(stalled('good'), '1 2', 'other watches go on');
like(sql(q{SELECT last_error FROM order_guard.watches
	WHERE relation = 'poisoned'::regclass}), qr/division by zero/,
	'noted on the watch');
my @errors = substr(slurp_file($node->logfile), $offset) =~
  /(division by zero)/g;
is(scalar @errors, 0, 'nothing in the log');
is(sql('SELECT errors FROM order_guard.stat_worker'), 0, 'no tick failed');
sql(q{UPDATE poisoned SET n = 1 WHERE id = 77});
sql(q{UPDATE poisoned SET n = 5 WHERE n = 0});
scan() for 1 .. 3;
is(stalled('poisoned'), '77', 'mended: judged');
is(sql(q{SELECT last_error FROM order_guard.watches
	WHERE relation = 'poisoned'::regclass}), '', 'and healthy');

# A status that takes too long: that watch rests.
sql(q{CREATE FUNCTION slow(int) RETURNS text IMMUTABLE LANGUAGE plpgsql
	AS $$ BEGIN PERFORM pg_sleep(60); RETURN 'x'; END $$;
	CREATE TABLE sleepy (id int PRIMARY KEY, n int)});
sql(q{SELECT order_guard.watch('sleepy', '(public.slow(n))', '{"x": "1 us"}')});
scan();
sql(q{INSERT INTO sleepy VALUES (1, 1)});
sql(q{INSERT INTO good VALUES (3, 'PAYING')});
ok($node->poll_query_until('postgres', q{SELECT last_error IS NOT NULL
	FROM order_guard.watches WHERE relation = 'sleepy'::regclass}),
	'it was stopped');
scan();
scan();
cmp_ok(tick_ms(), '<', 400, 'and is not asked again at once');
is(stalled('good'), '1 2 3', 'other watches go on');
$node->stop('fast');
done_testing();
