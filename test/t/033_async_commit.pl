# A commit that was answered before it was on disk: lost in a crash it is told,
# kept it is no attempt, and nothing is written twice because of it.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('async', q{
wal_writer_delay = '10s'
bgwriter_delay = '10s'
});
$node->safe_psql('postgres', 'ALTER ROLE ALL SET synchronous_commit = off');
my $session = session($node);

# Behind a commit that is not flushed stands an attempt.
$session->query(q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
$session->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED');
	ROLLBACK});
scan($node);
is( $node->safe_psql('postgres', q{SELECT (SELECT string_agg(key, ' ')
		FROM order_guard.tracked), (SELECT string_agg(key, ' ')
		FROM order_guard.attempt)}), '1|2', 'known at once');
scan($node);
is(attempts($node, 'key'), 2, 'once');

# The commit is lost.
$session->query('CHECKPOINT');
$session->query(q{INSERT INTO orders VALUES (3, 'SUBMITTED')});
crash($node, $session->{pid});
$session->abandon;
is($node->safe_psql('postgres', 'SELECT count(*) FROM orders WHERE id = 3'),
	0, 'a commit is lost');
scan($node);
is( $node->safe_psql('postgres', q{SELECT outcome, cause, reason
		FROM order_guard.attempt WHERE key = '3'}),
	'rolled_back|crash|its COMMIT was not on disk when the server crashed',
	'and told');
is( $node->safe_psql('postgres', q{SELECT state FROM order_guard.incident
		WHERE kind = 'vanished' AND key = '3'}), 'open', 'and missed');

# It is kept, as somebody else flushed it.
$session = session($node);
$session->query(q{INSERT INTO orders VALUES (4, 'SUBMITTED')});
$node->safe_psql('postgres', q{SET synchronous_commit = on;
	CREATE TABLE flush ()});
crash($node, $session->{pid});
$session->abandon;
scan($node);
is(attempts($node, 'key'), "2\n3", 'no attempt for what came through');
is( $node->safe_psql('postgres', q{SELECT count(*)
		FROM order_guard.tracked WHERE key = '4'}), 1, 'but it is known');
$node->stop('fast');
done_testing();
