# Prepared transactions are finished by the worker, if they still are the ones
# that were meant, for their owner or a superuser; the record says what was
# done, also when somebody else was faster or the name was used again.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('action_prepared', q{
max_prepared_transactions = 20
order_guard.prepared_threshold = '1ms'
wal_level = replica
max_wal_senders = 2
synchronous_commit = local
});

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sql(q{CREATE ROLE keeper LOGIN; CREATE ROLE clerk LOGIN;
	ALTER TABLE orders OWNER TO keeper; GRANT keeper TO clerk});

sub prepare
{
	my ($key, $gid, $user) = @_;
	$node->safe_psql('postgres', "BEGIN;
		INSERT INTO orders VALUES ($key, 'SUBMITTED', 5);
		PREPARE TRANSACTION '$gid'",
		extra_params => [ '-U', $user // 'postgres' ]);
	scan($node);
	return sql("SELECT id FROM order_guard.incidents WHERE kind = 'prepared'
		AND evidence ->> 'gid' = '$gid' ORDER BY id DESC LIMIT 1");
}

sub resolve
{
	my ($incident, $action, %o) = @_;
	my $args = $o{args} // '{}';
	return $node->safe_psql('postgres', "SELECT result FROM
		order_guard.resolve($incident, '$action', args => '$args')",
		extra_params => [ '-U', $o{user} // 'postgres' ]);
}

# Result and detail of the last action on an incident.
sub ended
{
	my ($incident) = @_;
	return sql("SELECT result, detail, done_at IS NOT NULL
		FROM order_guard.actions WHERE incident = $incident
		ORDER BY id DESC LIMIT 1");
}

sub prepared
{
	return sql(q{SELECT coalesce(string_agg(gid, ' ' ORDER BY gid), '')
		FROM pg_prepared_xacts});
}

# Queued, then carried out.
my $one = prepare(1, 'one');
my $two = prepare(2, 'two');
is(resolve($one, 'commit_prepared'), 'queued', 'queued');
is(resolve($two, 'rollback_prepared'), 'queued', 'queued');
is( sql("SELECT result, done_at IS NULL, login, role, args, incident
		FROM order_guard.actions WHERE incident = $one"),
	"queued|t|postgres|postgres|{}|$one", 'recorded');
is(prepared(), 'one two', 'not yet done');
scan($node);
is(prepared(), '', 'done');
is(ended($one), 'done|prepared transaction "one" was committed|t',
	'committed');
is(ended($two), 'done|prepared transaction "two" was rolled back|t',
	'rolled back');
is(sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM orders'), '1',
	'and so are their orders');
is( sql("SELECT proof #>> '{expected,gid}', proof #>> '{found,gid}',
		(proof #>> '{found,xid}')::xid = (proof #>> '{expected,xid}')::xid8::xid,
		proof #>> '{found,owner}' FROM order_guard.actions
		WHERE incident = $one"), 'one|one|t|postgres', 'with its proof');
scan($node);
is( sql("SELECT state, resolution FROM order_guard.incidents
		WHERE id = $one"),
	'cleared|the prepared transaction was committed', 'incident cleared');
is(resolve($one, 'commit_prepared'), 'refused', 'and closed');

# A dry run, one by one and for all.
my $dry = prepare(3, 'dry');
is(resolve($dry, 'commit_prepared', args => '{"dry_run": true}'),
	'would_do', 'a dry run');
is( sql(q{SELECT incident, result FROM
		order_guard.resolve_all('prepared', 'rollback_prepared')}),
	"$dry|would_do", 'of all');
scan($node);
is(prepared(), 'dry', 'does nothing');
is( sql(q{SELECT incident, result FROM order_guard.resolve_all('prepared',
		'rollback_prepared', dry_run => false)}), "$dry|queued", 'all');
scan($node);
is(prepared(), '', 'done');

# Of whom?
my $theirs = prepare(4, 'theirs', 'clerk');
my $ours = prepare(5, 'ours');
is(resolve($theirs, 'commit_prepared', user => 'keeper'), 'refused',
	'who owns the table, but not the transaction');
is(resolve($ours, 'commit_prepared', user => 'clerk'), 'refused',
	'not a superuser');
is(resolve($theirs, 'commit_prepared', user => 'clerk'), 'queued', 'owner');
is(resolve($ours, 'commit_prepared'), 'queued', 'superuser');
scan($node);
is(prepared(), '', 'both finished');
is( sql("SELECT by, login, role FROM order_guard.actions
		WHERE incident = $theirs AND result = 'done'"),
	'clerk|clerk|clerk', 'in his name');

# Somebody else finishes it before the worker does; its name is used again.
my $lost = prepare(6, 'lost');
resolve($lost, 'commit_prepared');
sql(q{ROLLBACK PREPARED 'lost'});
scan($node);
is(ended($lost),
	'moved_on|the prepared transaction has been rolled back already|t',
	'finished by somebody else, otherwise');
my $won = prepare(7, 'won');
resolve($won, 'commit_prepared');
sql(q{COMMIT PREPARED 'won'});
scan($node);
is(ended($won),
	'moved_on|the prepared transaction has been committed already|t',
	'finished by somebody else');
my $reused = prepare(8, 'same');
resolve($reused, 'commit_prepared');
sql(q{ROLLBACK PREPARED 'same'; BEGIN; INSERT INTO orders VALUES (9, 'PAID');
	PREPARE TRANSACTION 'same'});
scan($node);
is(ended($reused), 'moved_on|the prepared transaction has been rolled back '
	. 'already; its name is used by another one|t', 'the name is another\'s');
is(prepared(), 'same', 'which is left alone');
is(resolve($reused, 'commit_prepared'), 'refused', 'the incident is over');
my $again = sql(q{SELECT id FROM order_guard.incidents WHERE state = 'open'
	AND evidence ->> 'gid' = 'same'});
isnt($again, $reused, 'the other has one of its own');
is(resolve($again, 'rollback_prepared'), 'queued', 'and can be finished');
scan($node);
is(prepared(), '', 'is finished');

# A transaction manager's.
my $citus = prepare(10, 'citus_0_17_3_1');
is(resolve($citus, 'commit_prepared'), 'refused', 'not by the way');
is(resolve($citus, 'commit_prepared', args => '{"gid": "citus_0_17_3_1"}'),
	'queued', 'by name');
scan($node);
is(prepared(), '', 'finished');

# A queued one that outlives an immediate stop; an orphan blocks DROP DATABASE
# and is finished.
my $stop = prepare(11, 'stop');
resolve($stop, 'commit_prepared');
$node->stop('immediate');
$node->start;
scan($node);
is(ended($stop), 'done|prepared transaction "stop" was committed|t',
	'after a restart');
sql(q{CREATE DATABASE branch});
$node->safe_psql('branch', q{CREATE EXTENSION order_guard;
	CREATE TABLE orders (id int PRIMARY KEY, status text);
	SELECT order_guard.watch('orders', 'status', '{"NEW": "1 h"}');
	BEGIN; INSERT INTO orders VALUES (1, 'NEW');
	PREPARE TRANSACTION 'orphan'});
$node->stop('immediate');
$node->start;
$node->safe_psql('branch', 'SELECT order_guard.scan()');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE branch');
like($err, qr/prepared transaction/, 'an orphan is in the way');
is( $node->safe_psql('branch', q{SELECT r.result
		FROM order_guard.incidents i, order_guard.resolve(i.id,
		'rollback_prepared') r WHERE i.kind = 'prepared'
		AND i.evidence ->> 'hint' LIKE '%DROP DATABASE fails%'}),
	'queued', 'its incident tells so');
$node->safe_psql('branch', 'SELECT order_guard.scan()');
is(prepared(), '', 'it is finished');
is($node->psql('postgres', 'DROP DATABASE branch'), 0, 'and no more');

# Somebody is about to finish it: left for later.
my $busy = prepare(12, 'busy');
resolve($busy, 'commit_prepared');
my $holder = session($node);
$holder->query(q{BEGIN; SELECT count(*) FROM (SELECT
	FROM order_guard.action WHERE result = 'queued' FOR UPDATE) q});
scan($node);
is(prepared(), 'busy', 'what could not be recorded is not done');
$holder->query('ROLLBACK');
$holder->quit;
scan($node);
is(prepared(), '', 'but later');

# The worker waits for no standby.
my $alone = prepare(13, 'alone');
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql(q{ALTER SYSTEM SET synchronous_commit = 'on'});
$node->reload;
$node->safe_psql('postgres', qq{SET synchronous_commit = local;
	SELECT order_guard.resolve($alone, 'commit_prepared')});
$node->safe_psql('postgres', q{SELECT order_guard.scan('30 s')});
is(prepared(), '', 'finished while there is no standby');
is(ended($alone), 'done|prepared transaction "alone" was committed|t',
	'and recorded');
sql(q{SET synchronous_commit = local;
	ALTER SYSTEM RESET synchronous_standby_names});
$node->reload;

# Records are kept, or until action_retention, unless they are queued.
is( sql(q{SELECT count(*) FROM order_guard.action WHERE result = 'queued'}),
	'0', 'each has its end');
sql(q{INSERT INTO order_guard.action (incident, action, by, at, result)
	VALUES (0, 'close', 'x', now() - interval '2 h', 'done'),
		(0, 'close', 'y', now() - interval '2 min', 'done')});
my $count = sql(q{SELECT count(*) FROM order_guard.action});
scan($node);
is(sql(q{SELECT count(*) FROM order_guard.action}), $count, 'all are kept');
$node->append_conf('postgresql.conf', "order_guard.action_retention = '1h'");
$node->restart;
ok( scan_until($node, q{SELECT count(*) = 0 FROM order_guard.action
		WHERE by = 'x'}), 'until their time is over');
is(sql(q{SELECT count(*) FROM order_guard.action}), $count - 1, 'not before');
$node->stop;
done_testing();
