# An open transaction that is doomed fails at its own COMMIT or PREPARE, and
# nobody else does; no signal is sent.  What is asked for in a transaction that
# rolls back is done and recorded all the same.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'usleep';

my $node = guarded_node('doom', q{
order_guard.open_threshold = '1ms'
wal_level = replica
max_wal_senders = 2
synchronous_commit = local
});

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# The open incident about a session's transaction.
sub incident
{
	my ($session) = @_;
	scan($node);
	return sql("SELECT id FROM order_guard.incidents WHERE state = 'open'
		AND kind = 'uncommitted' AND evidence ->> 'pid' = '$session->{pid}'");
}

sub resolve
{
	my ($incident, $action) = @_;
	return sql("SELECT result
		FROM order_guard.resolve($incident, '$action')");
}

sub ended
{
	my ($incident) = @_;
	return sql("SELECT result, detail FROM order_guard.actions
		WHERE incident = $incident ORDER BY id DESC LIMIT 1") =~
	  s/process \d+/process PID/r;
}

# A session that holds an order, doomed.
sub doomed
{
	my ($key, $begin) = @_;
	my $session = session($node);
	$session->query(($begin // 'BEGIN')
		. "; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	my $incident = incident($session);
	is(resolve($incident, 'doom'), 'queued', "$key is to be doomed");
	scan($node);
	return ($session, $incident);
}

sub orders
{
	return sql(q{SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '')
		FROM orders});
}

# It fails at COMMIT, not before; the backend goes on.
my ($session, $incident) = doomed(1);
is($session->query('SELECT count(*) FROM orders'), '1', 'it goes on');
is(ended($incident), 'queued|the worker will have the COMMIT of process PID '
	. 'fail', 'until it ends that is open');
my $other = session($node);
$other->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED'); COMMIT});
is(orders(), '2', 'others commit');
$session->query("\\set VERBOSITY verbose\nCOMMIT");
like($session->errors, qr/OG003: this transaction was doomed/, 'refused');
is(orders(), '2', 'nothing of it is kept');
$session->query(q{BEGIN; INSERT INTO orders VALUES (3, 'SUBMITTED'); COMMIT});
is(orders(), '2 3', 'its next transaction commits');
is($session->query('SELECT pg_backend_pid()'), $session->{pid},
	'in the same backend');
scan($node);
is(ended($incident), 'done|the COMMIT of process PID failed', 'its end');
is( sql("SELECT proof #>> '{expected,pid}', proof #>> '{found,end}'
		FROM order_guard.actions WHERE incident = $incident"),
	"$session->{pid}|its COMMIT failed", 'with its proof');
is( sql(q{SELECT cause, sqlstate FROM order_guard.attempt WHERE key = '1'}),
	'error|OG003', 'and the reason of its attempt');

# PREPARE; one that wants to go on; one that took its first order back.
($session, $incident) = doomed(4);
$session->query(q{PREPARE TRANSACTION 'four'});
like($session->errors, qr/doomed/, 'PREPARE fails');
is(sql('SELECT count(*) FROM pg_prepared_xacts'), '0', 'nothing is prepared');
scan($node);
is(ended($incident), 'done|the COMMIT of process PID failed', 'told so');
($session, $incident) = doomed(5, q{BEGIN; SAVEPOINT s;
	INSERT INTO orders VALUES (6, 'PAID'); ROLLBACK TO s});
$session->query('COMMIT AND CHAIN');
like($session->errors, qr/doomed/, 'COMMIT AND CHAIN fails');
$session->query('COMMIT');
is(orders(), '2 3', 'nothing of it is kept');

# One that ends otherwise: rolled back, terminated, its backend gone.
($session, $incident) = doomed(7);
$session->query('ROLLBACK; BEGIN; INSERT INTO orders VALUES (8, $$PAID$$);
	COMMIT');
unlike($session->errors, qr/doomed/, 'it does not hit the next one');
is(orders(), '2 3 8', 'which commits');
scan($node);
is(ended($incident),
	'moved_on|the transaction of process PID ended otherwise', 'told so');
($session, $incident) = doomed(9);
is(resolve($incident, 'terminate'), 'queued', 'a doomed one is ended');
scan($node);
$node->poll_query_until('postgres', "SELECT count(*) = 0
	FROM pg_stat_activity WHERE pid = $session->{pid}") or die 'stays';
scan($node);
is( sql("SELECT string_agg(action || ' ' || result, ', ' ORDER BY id)
		FROM order_guard.actions WHERE incident = $incident"),
	'doom moved_on, terminate done', 'both have their end');
is( sql("SELECT proof ->> 'lock' FROM order_guard.actions
		WHERE incident = $incident AND action = 'terminate'"),
	'ProcArrayLock: the transaction had not ended when the signal was sent',
	'under which lock');
$session->abandon;

# One that went on to its next transaction before the worker came.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (10, 'SUBMITTED')});
$incident = incident($session);
for my $action (qw(doom cancel_query terminate))
{
	is(resolve($incident, $action), 'queued', "$action is queued");
}
$session->query(q{COMMIT; BEGIN; INSERT INTO orders VALUES (11, 'PAID')});
scan($node);
is( sql("SELECT string_agg(action || ' ' || result, ', ' ORDER BY id)
		FROM order_guard.actions WHERE incident = $incident"),
	'doom moved_on, cancel_query moved_on, terminate moved_on',
	'its next transaction is not meant');
$session->query('COMMIT');
is(orders(), '2 3 8 10 11', 'and commits');

# Doomed as it says COMMIT: whoever is first, the record is what happened.
$session = session($node);
my $scanner = session($node);
my @wrong;
for my $key (100 .. 139)
{
	$session->query("BEGIN; INSERT INTO orders VALUES ($key, 'PAID')");
	$incident = incident($session);
	resolve($incident, 'doom');
	$scanner->send('SELECT order_guard.scan();');
	usleep(($key - 100) * 200);		# earlier and later
	$session->query('COMMIT');
	$scanner->query('SELECT 1');
	scan($node);
	push @wrong, $key if sql("SELECT a.result <> CASE WHEN EXISTS (SELECT
			FROM orders WHERE id = $key) THEN 'moved_on' ELSE 'done' END
		FROM order_guard.actions a WHERE a.incident = $incident") ne 'f';
}
is("@wrong", '', 'the record is true, whoever is first');
sql('DELETE FROM orders WHERE id >= 100');
$scanner->quit;

# A backend that is gone, and its pid is another's: as if the kernel had given
# it to a session that works on an order, too.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (20, 'SUBMITTED')});
$incident = incident($session);
is(resolve($incident, $_), 'queued', "$_ is queued")
  for qw(doom cancel_query terminate);
$session->quit;
$node->poll_query_until('postgres', "SELECT count(*) = 0
	FROM pg_stat_activity WHERE pid = $session->{pid}") or die 'stays';
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (21, 'SUBMITTED')});
sql("UPDATE order_guard.incident SET evidence = jsonb_set(evidence, '{pid}',
	'$session->{pid}') WHERE id = $incident");
scan($node);
is( sql("SELECT string_agg(action || ' ' || result, ', ' ORDER BY id)
		FROM order_guard.actions WHERE incident = $incident"),
	'doom moved_on, cancel_query moved_on, terminate moved_on',
	'a pid that is used again is left alone');
is( sql("SELECT count(*) FROM order_guard.actions WHERE incident = $incident
		AND proof #>> '{found,backend_start}'
			<> proof #>> '{expected,backend_start}'"), '3', 'proved');
$session->query('ROLLBACK; SELECT 1');
is($session->errors, '', 'it has not noticed');

# One that waits in its COMMIT has said it already.
sql(q{ALTER SYSTEM SET synchronous_standby_names = 'nobody'});
sql('SELECT pg_reload_conf()');
$session = session($node);
$session->send(q{SET synchronous_commit = on; BEGIN;
	INSERT INTO orders VALUES (12, 'PAID'); COMMIT;});
$node->poll_query_until('postgres', "SELECT count(*) = 1
	FROM pg_stat_activity WHERE pid = $session->{pid}
	AND wait_event = 'SyncRep'") or die 'COMMIT does not wait';
$incident = incident($session);
is(resolve($incident, 'doom'), 'queued', 'doomed while it commits');
scan($node);
sql(q{ALTER SYSTEM SET synchronous_standby_names = ''});
sql('SELECT pg_reload_conf()');
$session->query('SELECT 1');
is(orders(), '2 3 8 10 11 12', 'it commits');
scan($node);
is(ended($incident),
	'moved_on|the transaction of process PID ended otherwise',
	'and that is what is told');

# Asked for in a transaction that rolls back.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (13, 'SUBMITTED')});
$incident = incident($session);
$other = session($node);
$other->query('BEGIN');
is( $other->query("SELECT result
		FROM order_guard.resolve($incident, 'terminate', 'it hangs')"),
	'queued', 'terminate in a transaction');
is( sql("SELECT action, result, note FROM order_guard.actions
		WHERE incident = $incident"),
	'terminate|queued|it hangs', 'is recorded at once');
$other->query('ROLLBACK');
scan($node);
is( sql("SELECT action, result, note FROM order_guard.actions
		WHERE incident = $incident"),
	'terminate|done|it hangs', 'is done and recorded');
$node->poll_query_until('postgres', "SELECT count(*) = 0
	FROM pg_stat_activity WHERE pid = $session->{pid}") or die 'stays';
$session->abandon;
my ($rc, $out, $err) = $node->psql('postgres', "SELECT
	order_guard.resolve(i.id, 'close', repeat('x', 9000)) FROM
	order_guard.incidents i WHERE i.id = $incident");
is($rc, 0, 'a long note is no trouble otherwise');

# Nobody is there to write it down: nothing is done either.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (14, 'SUBMITTED')});
$incident = incident($session);
my $worker = sql('SELECT pid FROM order_guard.stat_worker');
kill 'STOP', $worker;
($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '1s';
	SELECT order_guard.resolve($incident, 'terminate')");
kill 'CONT', $worker;
like($err, qr/statement timeout/, 'given up');
scan($node);
is(sql("SELECT count(*) FROM order_guard.actions WHERE incident = $incident"),
	'0', 'it never happened');
$session->query('COMMIT');
is(orders(), '2 3 8 10 11 12 14', 'to nobody');
$node->stop;
done_testing();
