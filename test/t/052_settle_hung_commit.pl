# A commit that hangs, waiting for a standby that is gone, may be of the token
# that is to be settled: settle() then does not know, and says so in time.
# Other tokens are settled meanwhile.  Whom settle() dooms cannot commit.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('hung', q{
wal_level = replica
max_wal_senders = 4
});
$node->safe_psql('postgres', q{
	CREATE TABLE placed (id integer PRIMARY KEY, token text, status text);
	CREATE INDEX ON placed (token);
	CREATE ROLE owner;
	ALTER TABLE placed OWNER TO owner;
	SELECT order_guard.watch('placed', 'status', token => 'token',
		options => '{"settle": true}')});

sub settle
{
	my ($token, $more) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', sprintf(
			q{SELECT outcome, final FROM order_guard.settle('%s'%s)}, $token,
			$more // ''));
	return $err ? $err =~ s/.*ERROR: +([^\n]*)\n.*/$1/sr : $out;
}

sub wait_event
{
	my ($pid, $event) = @_;
	$node->poll_query_until('postgres', "SELECT wait_event = '$event'
		FROM pg_stat_activity WHERE pid = $pid") or die "no $event";
	return;
}

# In flight, and then doomed.
my $writer = session($node);
$writer->query(q{BEGIN; INSERT INTO placed VALUES (1, 'open', 'NEW')});
is(settle('open'), 'in_flight|f', 'an open transaction has it');
is($node->safe_psql('postgres', q{SET ROLE owner;
		SELECT outcome, final, reason ~ 'cannot commit it'
		FROM order_guard.settle('open', cancel => true)}),
	'settled|t|t', 'it is settled over its head');
$writer->query('COMMIT');
like($writer->errors, qr/token "open" has been settled/, 'it cannot commit');
$writer->query(q{BEGIN; INSERT INTO placed VALUES (1, 'ended', 'NEW')});
is($node->safe_psql('postgres', q{SELECT outcome, final, reason ~ 'was ended'
		FROM order_guard.settle('ended', cancel => true)}),
	'settled|t|t', 'who may ends its session');
$writer->abandon;

$writer = session($node);
$writer->send(q{BEGIN; INSERT INTO placed VALUES (1, 'busy', 'NEW');
	SELECT pg_sleep(1000);});
wait_event(pid_of($writer), 'PgSleep');
is($node->safe_psql('postgres',
		q{SELECT outcome, final, reason ~ 'was cancelled'
		FROM order_guard.settle('busy', cancel => true)}),
	'settled|t|t', 'a query that runs is cancelled');
$writer->query('ROLLBACK');

# Another key of the same table waits: settle() does not.
my $other = session($node);
$writer->query(q{BEGIN; INSERT INTO placed VALUES (2, 'first', 'NEW')});
$other->send(q{INSERT INTO placed VALUES (2, 'second', 'NEW');});
wait_event(pid_of($other), 'transactionid');
is(settle('second'), 'settled|t', 'one that waits has not placed it');
$writer->query('ROLLBACK');
$other->query('SELECT 1');
like($other->errors, qr/token "second" has been settled/, 'nor will it');

# The commit hangs.
$node->safe_psql('postgres', q{
	ALTER SYSTEM SET synchronous_standby_names = 'gone'; SELECT pg_reload_conf()});
$node->poll_query_until('postgres',
	q{SELECT current_setting('synchronous_standby_names') = 'gone'});
$writer->send(q{INSERT INTO placed VALUES (3, 'hangs', 'NEW');});
wait_event(pid_of($writer), 'SyncRep');
is(settle('hangs', ", cancel => true, timeout => '300 ms'"),
	'settle() failed: a transaction that may hold the token has been '
	  . 'committing all the time', 'nobody knows while it hangs');
is(settle('hangs', q{, timeout => '300 ms'}), 'in_flight|f',
	'but that it is in flight');
like(settle('free', q{, timeout => '500 ms'}), qr/^settled\|f/,
	'another token is settled, but not on a standby');
is($node->safe_psql('postgres',
		"SELECT count(*) FROM placed WHERE id = 3"), 0, 'it is not seen yet');
$node->safe_psql('postgres', q{
	ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
$writer->query('SELECT 1');
is(settle('hangs'), 'committed|t', 'and then it has been placed');
is(settle('free'), 'settled|t', 'the answer stays');

# A table that is locked makes it wait, in the caller's session.
$writer->query(q{BEGIN; LOCK TABLE placed});
like(settle('locked', q{, timeout => '300 ms'}), qr/is locked/,
	'a locked table is an error in time');
my $settler = session($node);
$settler->send(q{SELECT outcome FROM order_guard.settle('locked');});
$node->poll_query_until('postgres', sprintf q{SELECT state = 'active'
	FROM pg_stat_activity WHERE pid = %d}, pid_of($settler));
$writer->query('COMMIT');
like($settler->query('SELECT 1'), qr/settled/, 'a lock of a moment is not');
$_->quit for $writer, $other, $settler;
$node->stop('fast');
done_testing();
