# A worker that takes the server down with it does not do so for ever.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('loop', q{order_guard.naptime = '1s'});
my $offset = -s $node->logfile;

# The number of times that the server has restarted by itself.
sub restarts
{
	my $log = substr slurp_file($node->logfile), $offset;
	my @found = $log =~ /(all server processes terminated; reinitializing)/g;
	return scalar @found;
}

# The journal is to blame: it is set aside.
my $session = session($node);
$session->query(q{INSERT INTO orders VALUES (1, 'SUBMITTED')});
scan($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
inject_fault($node, 'tick-crash');
$node->wait_for_log(qr/WARNING:  order_guard set aside 1 segments/, $offset);
$session->abandon;
ready($node);
scan($node);
# one death of a worker that had ticked before, then those in a first tick
is(restarts(), 4, 'the server is left alone after some crashes');
ok( scan_until($node, q{SELECT state = 'cleared' FROM order_guard.incident
		WHERE evidence->>'gap' = 'journal set aside'}), 'there was a sweep');
is( $node->safe_psql('postgres', q{SELECT array_agg(key)
		FROM order_guard.tracked}), '{1}', 'what committed is known');
my @aside = glob journal_of($node) . '.damaged.*';
is(@aside, 1, 'what killed them is kept');
is(-s $aside[0], 16384, 'as it was');

# Something else is to blame: there are pauses.  It is set aside all the same,
# and the worker that does so dies before it can tell.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (2, 'SUBMITTED')});
my $before = $node->safe_psql('postgres', 'SELECT now()');
inject_fault($node, 'start-crash');
$offset = -s $node->logfile;
kill 'KILL', $node->safe_psql('postgres',
	'SELECT pid FROM order_guard.stat_worker');
$node->wait_for_log(qr/WARNING:  order_guard worker of .* waits for 60 s/,
	$offset);
ready($node);
$session->abandon;
is(restarts(), 5, 'one more crash');
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (3, 'SUBMITTED')});
is( $node->safe_psql('postgres', q{SELECT state
		FROM order_guard.stat_worker}), 'starting', 'orders go on');
# whoever needs the database to himself does not have to wait
$node->safe_psql('template1', 'ALTER DATABASE postgres RENAME TO shop');
$node->safe_psql('template1', 'ALTER DATABASE shop RENAME TO postgres');
inject_fault($node, '');
$node->restart;
scan($node);
is( $node->safe_psql('postgres', q{SELECT array_agg(key ORDER BY key)
		FROM order_guard.tracked}), '{1,3}', 'and the worker when it can');

is( $node->safe_psql('postgres', qq{SELECT count(*) FROM order_guard.loss
		WHERE until > '$before'}), 1, 'the loss is on record');
is( $node->safe_psql('postgres', q{SELECT outcome, unknown_because
		FROM order_guard.outcome('orders', '2')}), 'unknown|journal_lost',
	'and told');

# Killed while it writes down how far it has come.
$session = session($node);
$session->query(q{BEGIN; INSERT INTO orders VALUES (4, 'SUBMITTED');
	ROLLBACK});
$offset = -s $node->logfile;
inject_fault($node, 'consume-crash');
$node->wait_for_log(qr/all server processes terminated; reinit/, $offset);
ready($node);
scan($node);
is(attempts($node, 'key'), 4, 'exactly once');
is(restarts(), 1, 'after one crash');
$session->abandon;
$node->stop('fast');
done_testing();
