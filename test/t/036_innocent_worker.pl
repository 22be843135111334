# A worker that goes down with the server in its first tick, again and again,
# because others crash: that is no reason to suspect the journal.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('innocent');

# Its first tick waits for this lock, which a crash does not end.
$node->safe_psql('postgres', q{
	BEGIN; LOCK TABLE order_guard.position; PREPARE TRANSACTION 'hold'});
my $session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (1, 'SUBMITTED');
	ROLLBACK});

# The first of them had ticked before, so that its end is not counted.
my $offset = -s $node->logfile;
for (1 .. 5)
{
	$session->query(q{DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks
		WHERE NOT granted AND relation = 'order_guard.position'::regclass)
		LOOP END LOOP; END $$}) if $_ > 1;
	crash($node, $session->{pid});
	$session->abandon;
	$session = session($node);
}
$node->safe_psql('postgres', q{COMMIT PREPARED 'hold'});
scan($node);
ok(!$node->log_contains(qr/set aside/, $offset), 'nothing is set aside');
is(attempts($node, 'key, outcome'), '1|rolled_back', 'nothing is lost');
$session->abandon;
$node->stop('fast');
done_testing();
