# Orders that vanish when tens of thousands have done so before, or were
# prepared and finished: the worker finds what is new by indexes, with plans
# that it began with when its tables were empty.
use strict;
use warnings;
use OrderGuard;
use Test::More;

my $rows = 20_000;
my $ticks = 10;
my $node = guarded_node('many');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub lose_and_scan
{
	my ($from) = @_;

	foreach my $n ($from + 1 .. $from + $ticks)
	{
		sql("BEGIN; INSERT INTO orders VALUES ($n, 'NEW'); ROLLBACK");
		scan($node);
	}
	return;
}

sub vanished
{
	return sql(q{SELECT count(*) FROM order_guard.incidents
		WHERE kind = 'vanished' AND key::int <= 100});
}

lose_and_scan(0);
is(vanished(), $ticks, 'orders that vanished');

sql(qq{INSERT INTO order_guard.attempt (watch, relation, key, hash, operation,
		outcome, session, xact, ended_at)
	SELECT watch, relation, n, gen_random_uuid(), operation, outcome, 0, 0,
		ended_at
	FROM (SELECT * FROM order_guard.attempt LIMIT 1) a,
		generate_series(1001, 1000 + $rows) n;
	INSERT INTO order_guard.incident (kind, watch, relation, relation_name,
		key, hash, summary, opened_at)
	SELECT 'vanished', watch, relation, 'public.orders', n,
		gen_random_uuid(), 'test', now() - interval '1 h'
	FROM (SELECT * FROM order_guard.attempt LIMIT 1) a,
		generate_series(1001, 1000 + $rows) n});
scan($node);
lose_and_scan($ticks);
sql('SELECT pg_stat_reset()');
lose_and_scan(2 * $ticks);
is(vanished(), 3 * $ticks, 'and those that do now');

# What a tick reads is counted when it is over, and published after a while.
ok($node->poll_query_until('postgres', qq{SELECT seq_scan >= $ticks
	FROM pg_stat_user_tables WHERE relid = 'order_guard.policy'::regclass}),
	'ticks are counted');
cmp_ok(sql(q{SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables
	WHERE relid = 'order_guard.attempt'::regclass}), '<', $rows,
	"$ticks ticks read less than the table of attempts");
cmp_ok(sql(q{SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables
	WHERE relid = 'order_guard.incident'::regclass}), '<', $ticks * $rows,
	'and not the table of incidents in each');

# Nothing is vacuumed here, nor is it while somebody's report takes hours.
sql(qq{BEGIN;
	INSERT INTO order_guard.attempt (watch, relation, key, hash, operation,
		outcome, gid, session, xact, ended_at)
	SELECT watch, relation, n, gen_random_uuid(), operation, 'prepared', n, 0,
		0, ended_at
	FROM (SELECT * FROM order_guard.attempt LIMIT 1) a,
		generate_series(1, $rows) n;
	DELETE FROM order_guard.attempt WHERE outcome = 'prepared';
	COMMIT});
scan($node);
sql('SELECT pg_stat_reset()');
scan($node) foreach 1 .. $ticks;
ok($node->poll_query_until('postgres', qq{SELECT seq_scan >= $ticks
	FROM pg_stat_user_tables WHERE relid = 'order_guard.policy'::regclass}),
	'ticks are counted again');
cmp_ok(sql(q{SELECT idx_tup_read FROM pg_stat_user_indexes
	WHERE indexrelname = 'attempt_prepared'}), '<', $rows,
	'transactions that were prepared are not met again');
done_testing();
