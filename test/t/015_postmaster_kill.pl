# kill -9 of the postmaster, and a server that does not restart by itself:
# what was open is told after the next start.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('postmaster');

sub told
{
	my ($key) = @_;
	return $node->safe_psql('postgres', "SELECT a.outcome, i.state
		FROM order_guard.attempt a JOIN order_guard.incident i
			USING (watch, key) WHERE key = '$key' AND i.kind = 'vanished'");
}

my $session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED')});
kill_hard($node);
$session->abandon;
$node->start;
scan($node);
is(told(1), 'rolled_back|open', 'after kill -9 of the postmaster');
# The backend may still have had the time to say so.
like(attempts($node, 'cause'), qr/^(crash|terminated)$/, 'with a cause');

$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->reload;
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
my $offset = -s $node->logfile;
kill 'KILL', $session->{pid};
$session->abandon;
$node->wait_for_log(qr/database system is shut down/, $offset);
$node->{_pid} = undef;
$node->start;
scan($node);
is(told(2), 'rolled_back|open', 'with restart_after_crash = off');
is( $node->safe_psql('postgres', q{SELECT cause FROM order_guard.attempt
		WHERE key = '2'}), 'crash', 'with its cause');

# Several starts in between make no difference: nothing was decided yet.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (3, 'SUBMITTED')});
$node->append_conf('postgresql.conf', 'order_guard.enabled = off');
$node->reload;
for (1 .. 3)
{
	$node->stop('immediate');
	$node->start;
	$node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
}
$session->abandon;
$node->append_conf('postgresql.conf', 'order_guard.enabled = on');
$node->stop('fast');
$node->start;
scan($node);
is(told(3), 'rolled_back|open', 'after three more starts');
$node->stop('fast');
done_testing();
