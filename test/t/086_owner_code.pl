# What the owner of a table wrote runs in the worker as that owner, ends when
# its time is over, and leaves nothing behind in that process.
use strict;
use warnings;
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
sub scan { return sql('SELECT count(*) FROM order_guard.scan()'); }
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
scan();
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
expression('temporary', q{BEGIN
	EXECUTE 'CREATE TYPE pg_temp.phase AS ENUM (''x'')';
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
scan();

like(error_of('stubborn'), qr/^canceling statement/,
	'its time is over, even if it catches that');
like(error_of('fatal'), qr/exit_on_error/, 'no error ends the worker');
like(error_of('temporary'), qr/temporary objects/, 'nothing temporary');
is(sql(q{SELECT count(*) FROM pg_namespace WHERE nspname ~ '^pg_temp'}), 0,
	'not even its schema');
is(sql(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}), 0,
	'no advisory locks');
is(sql(q{SELECT string_agg(DISTINCT relation::text, ' ')
	FROM order_guard.incidents WHERE kind = 'stalled'}),
	'shop.locking shop.setting', 'no settings');
is(worker(), $worker, 'all in the same worker');
$node->stop('fast');
done_testing();
