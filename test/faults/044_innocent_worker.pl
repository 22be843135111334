# A worker that goes down with the server in its first tick, again and again,
# because others crash: that is no reason to suspect the journal.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('innocent');
my $offset = -s $node->logfile;

my $session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED');
	ROLLBACK});
inject_fault($node, 'start-hang');

# The first of them had ticked before, so that its end is not counted.
for (1 .. 5)
{
	$node->poll_query_until('postgres', q{SELECT count(*) = 1
		FROM pg_stat_activity WHERE backend_type = 'order_guard worker'
		AND datname = 'postgres' AND query = 'tick' AND state = 'active'})
	  or die 'no worker is in its first tick'
	  if $_ > 1;
	crash($node, $session->{pid});
	$session->abandon;
	$session = session($node);
}
inject_fault($node, '');
crash($node, $session->{pid});
$session->abandon;
scan($node);
ok(!$node->log_contains(qr/set aside/, $offset), 'nothing is set aside');
is(attempts($node, 'key, outcome'), '1|rolled_back', 'nothing is lost');
$node->stop('fast');
done_testing();
