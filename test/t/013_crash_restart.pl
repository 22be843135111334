# kill -9 of one backend: its open order and those of all the others, which
# leave without a word, vanish with key, xid, start and cause; committed ones
# do not.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('crash');
my $before = $node->safe_psql('postgres', 'SELECT now()');
my @sessions = map { session($node, name => "shop $_") } 1 .. 3;

$sessions[0]->query(q{INSERT INTO orders VALUES (1, 'SUBMITTED', 10)});
$_->query('BEGIN') for @sessions;
my %xid;
for my $i (0 .. 2)
{
	my $key = 11 + $i;
	$sessions[$i]->query("INSERT INTO orders VALUES ($key, 'SUBMITTED', 20)");
	$xid{$key} = $sessions[$i]->query('SELECT pg_current_xact_id()');
}
$sessions[1]->query(q{UPDATE orders SET status = 'PAID' WHERE id = 1});
my $idle = session($node);
$idle->query(q{INSERT INTO orders VALUES (2, 'SUBMITTED', 10)});

crash($node, $sessions[0]->{pid});
scan($node);
is( attempts($node, q{key, old_status, new_status, outcome, cause, pid,
			application_name}),
	"1|SUBMITTED|PAID|rolled_back|crash|$sessions[1]->{pid}|shop 2\n"
	. join("\n", map {
		"1$_||SUBMITTED|rolled_back|crash|$sessions[$_ - 1]->{pid}|shop $_"
	} 1 .. 3),
	'an attempt for each order of each open transaction');
is(attempts($node, 'xid'),
	join("\n", @xid{12, 11, 12, 13}), 'with its transaction id');
is( attempts($node, "started_at BETWEEN '$before' AND ended_at"),
	join("\n", ('t') x 4), 'and its start');

is( $node->safe_psql('postgres', q{SELECT key, status, state,
		evidence->>'cause', evidence->>'xid' FROM order_guard.incident
		WHERE kind = 'vanished' ORDER BY key::integer}),
	"1|SUBMITTED|open|crash|$xid{12}\n"
	. join("\n", map { "$_||open|crash|$xid{$_}" } 11 .. 13),
	'an incident for each, none for what committed');
is( $node->safe_psql('postgres', q{SELECT summary FROM order_guard.incident
		WHERE key = '11'}),
	'order 11 of public.orders was not placed: '
	. 'the server crashed before COMMIT', 'in words');

# The order is placed again: the incident goes.
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (11, 'SUBMITTED')});
scan($node);
is( $node->safe_psql('postgres', q{SELECT state, resolution
		FROM order_guard.incident WHERE key = '11'}),
	'cleared|the order appeared', 'it clears');

# Nothing of it comes back with another crash.
crash($node, $node->safe_psql('postgres',
		q{SELECT pid FROM order_guard.stat_worker}));
scan($node);
is( $node->safe_psql('postgres', q{SELECT count(*),
		(SELECT count(*) FROM order_guard.incident) FROM order_guard.attempt}),
	'4|4', 'exactly once');
is( $node->safe_psql('postgres',
		'SELECT journal_used, corrupt FROM order_guard.stat_worker'),
	'0|0', 'the journal is empty');
$_->abandon for @sessions, $idle;
$node->stop('fast');
done_testing();
