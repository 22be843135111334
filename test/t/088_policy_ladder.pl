# The ladder for sessions that hold orders: told, cancelled, ended; never one
# that holds none, nor a superuser's for somebody else.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('ladder', "order_guard.open_threshold = '1ms'\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What policies did about the incident of a session, in the order of time.
sub ladder_of
{
	my ($session) = @_;
	return sql("SELECT a.by, a.result, replace(a.detail, '$session->{pid}',
			'PID')
		FROM order_guard.actions a JOIN order_guard.incidents i
			ON i.id = a.incident AND i.evidence ->> 'pid' = '$session->{pid}'
		WHERE a.by LIKE 'policy %' ORDER BY a.id");
}

sub set
{
	my ($name, $action, $after) = @_;
	sql("SELECT order_guard.set_policy('$name', 'uncommitted', '$action',
		'$after', dry_run => false)");
	return;
}

sub is_there
{
	my ($session) = @_;
	return sql("SELECT count(*) FROM pg_stat_activity
		WHERE pid = $session->{pid}");
}

sub wait_until_gone
{
	my ($session) = @_;
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT
		FROM pg_stat_activity WHERE pid = $session->{pid})")
	  or die 'the session is still there';
	return;
}

# --- idle in transaction --------------------------------------------------

set('1 tell', 'notify', '0');
set('2 cancel', 'cancel_query', '0');
set('3 end', 'terminate', '1 h');
my $idle = session($node, name => 'checkout');
$idle->query(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED')});
my $offset = -s $node->logfile;
scan($node);
scan($node);
is(ladder_of($idle), join("\n",
		'policy 1 tell|done|notified',
		'policy 2 cancel|refused|process PID has no query to cancel: '
		. 'it is idle in transaction'),
	'an idle transaction is told of, once; there is nothing to cancel');
ok($node->log_contains(qr/incident \d+ notified \(uncommitted, /, $offset),
	'the log has it');
is(is_there($idle), 1, 'it has not been idle for an hour');

set('3 end', 'terminate', '0');
scan($node);
wait_until_gone($idle);
scan($node);
like(ladder_of($idle), qr/\npolicy 3 end\|done\|signal sent$/, 'it was ended');
is(sql("SELECT state FROM order_guard.incidents WHERE kind = 'uncommitted'"),
	'cleared', 'and the incident is cleared');
is(sql("SELECT name, done, refused, failed FROM order_guard.policies
		ORDER BY name"), "1 tell|1|0|0\n2 cancel|0|1|0\n3 end|1|0|0",
	'the policies have counted');
$idle->abandon;

# --- a query that runs ----------------------------------------------------

my $busy = session($node, name => 'report');
$busy->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
$busy->send('SELECT pg_sleep(1000);');
$node->poll_query_until('postgres', "SELECT state = 'active'
	FROM pg_stat_activity WHERE pid = $busy->{pid}");
scan($node);
$node->poll_query_until('postgres', "SELECT state LIKE 'idle in%'
	FROM pg_stat_activity WHERE pid = $busy->{pid}");
is(ladder_of($busy), join("\n",
		'policy 1 tell|done|notified',
		'policy 2 cancel|done|signal sent'),
	'its query was cancelled, and that was given time to help');
is(is_there($busy), 1, 'the session is still there');
$busy->quit;

# --- whoever holds no order is told of, not ended -------------------------

sql(q{INSERT INTO orders VALUES (3, 'SUBMITTED')});
set('2 cancel', 'cancel_query', '1 h');
my $root = session($node, name => 'backup');
$root->query('BEGIN; SELECT count(*) FROM (SELECT FROM orders WHERE id = 3
	FOR UPDATE) x');
my $behind = session($node, name => 'waiter');
$behind->send('UPDATE orders SET amount = 1 WHERE id = 3;');
$node->poll_query_until('postgres', "SELECT wait_event_type = 'Lock'
	FROM pg_stat_activity WHERE pid = $behind->{pid}");
scan($node);
scan($node);
is(ladder_of($root), join("\n",
		'policy 1 tell|done|notified',
		'policy 3 end|refused|process PID holds no order'),
	'who holds no order is told of and not ended');
is(is_there($root) . is_there($behind), '11', 'neither is who waits');
$root->query('ROLLBACK');
$behind->query('SELECT 1');
$_->quit for $root, $behind;

# --- what was raised stays, though a detector reports it again ------------

sql(q{SELECT order_guard.drop_policy(name) FROM order_guard.policies;
	SELECT order_guard.set_policy('worse', 'uncommitted', 'escalate', '0',
	args => '{"severity": "critical"}', dry_run => false)});
my $listener = session($node);
$listener->query('LISTEN order_guard');
my $worse = session($node, name => 'worse');
$worse->query(q{BEGIN; INSERT INTO orders VALUES (9, 'SUBMITTED')});
scan($node);
scan($node);
$worse->query(q{INSERT INTO orders VALUES (8, 'SUBMITTED')});
scan($node);
scan($node);
is(sql("SELECT severity, count FROM order_guard.incidents
		WHERE kind = 'uncommitted' AND state = 'open'"), 'critical|2',
	'it is reported anew, and stays critical');
like($listener->query('SELECT 1'),
	qr/"event":"escalated".*"severity":"critical"/, 'and listeners are told');
$_->quit for $worse, $listener;
scan($node);

# --- doomed: the session stays, its COMMIT fails --------------------------

sql(q{SELECT order_guard.drop_policy(name) FROM order_guard.policies});
set('doom', 'doom', '0');
my $doomed = session($node, name => 'doomed');
$doomed->query(q{BEGIN; INSERT INTO orders VALUES (10, 'SUBMITTED')});
scan($node);
scan($node);
is(ladder_of($doomed),
	'policy doom|queued|the worker will have the COMMIT of process PID fail',
	'an idle transaction is doomed, once');
$doomed->query('COMMIT');
scan($node);
is(ladder_of($doomed), 'policy doom|done|the COMMIT of process PID failed',
	'and that is what came of it');
is(sql('SELECT count(*) FROM orders WHERE id = 10'), 0, 'nothing of it');
is(sql('SELECT done FROM order_guard.policies'), 1, 'counted when it was so');
$doomed->quit;
sql(q{SELECT order_guard.drop_policy('doom')});

# --- prepared: never one of a transaction manager -------------------------

sql(q{ALTER SYSTEM SET order_guard.prepared_threshold = '1ms'});
$node->reload;
for my $gid ('mine', 'citus_0_1_2', '131077_AAECAw==_BAUG')
{
	my $n = 20 + length $gid;
	sql("SET order_guard.prepared_threshold = '1ms'; BEGIN;
		INSERT INTO orders VALUES ($n, 'SUBMITTED');
		PREPARE TRANSACTION '$gid'");
}
sql(q{SELECT order_guard.set_policy('undo', 'prepared', 'rollback_prepared',
	'0', dry_run => false)});
scan($node);
scan($node);
is(sql('SELECT gid FROM pg_prepared_xacts ORDER BY gid'),
	"131077_AAECAw==_BAUG\ncitus_0_1_2",
	'a transaction manager\'s are left alone');
is(sql(q{SELECT i.evidence ->> 'gid', a.result, a.detail
		FROM order_guard.actions a JOIN order_guard.incidents i
			ON i.id = a.incident WHERE a.by = 'policy undo' ORDER BY a.id}),
	join("\n", 'mine|done|prepared transaction "mine" was rolled back',
		map { "$_|refused|it belongs to a transaction manager: "
			  . 'a person has to decide' }
		'citus_0_1_2', '131077_AAECAw==_BAUG'), 'and a person is told');
sql(q{SELECT order_guard.drop_policy('undo')});
sql("ROLLBACK PREPARED '$_'") for 'citus_0_1_2', '131077_AAECAw==_BAUG';

# --- whose session, whose policy ------------------------------------------

sql(q{CREATE ROLE shop LOGIN; GRANT pg_signal_backend TO shop;
	CREATE ROLE clerk LOGIN;
	ALTER TABLE orders OWNER TO shop; GRANT ALL ON orders TO clerk;
	SET ROLE shop;
	SELECT order_guard.set_policy('shop', 'uncommitted', 'terminate', '0',
		'orders', dry_run => false)});
my $super = session($node, name => 'admin');
$super->query(q{BEGIN; INSERT INTO orders VALUES (4, 'SUBMITTED')});
my $clerk = do
{
	local $ENV{PGUSER} = 'clerk';
	session($node, name => 'clerk');
};
$clerk->query(q{BEGIN; INSERT INTO orders VALUES (5, 'SUBMITTED')});
scan($node);
wait_until_gone($clerk);
scan($node);
is(ladder_of($super),
	'policy shop|refused|the session belongs to a superuser',
	"a superuser's session is not an owner's to end");
like(ladder_of($clerk), qr/^policy shop\|done\|signal sent/,
	'everybody else\'s is');
is(is_there($super), 1, 'the superuser is still there');
$super->quit;
$clerk->abandon;

# --- policies are configuration -------------------------------------------

my $dump = $node->basedir . '/dump';
sql(q{SELECT order_guard.set_policy('all', 'stalled', 'notify', '1 h',
	args => '{}', max_tries => 3)});
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d',
		$node->connstr('postgres') ], 'pg_dump');
sql('CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d',
		$node->connstr('copy'), $dump ], 'pg_restore');
is($node->safe_psql('copy', q{SELECT name, relation, action, max_tries,
		dry_run, owner = current_user, done, suspended_why
		FROM order_guard.policies ORDER BY name}),
	"all||notify|3|t|t|0|\nshop|orders|terminate|5|f|f|0|",
	'they are restored, without what they did');
sql('DROP DATABASE copy');

$node->stop;
done_testing();
