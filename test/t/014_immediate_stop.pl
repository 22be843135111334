# Immediate stop with 100 open orders: 100 attempts and incidents, exactly
# once, whatever happens to the worker while it drains.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('stop');

sub fill
{
	my ($first) = @_;
	my @sessions = map { session($node) } 0 .. 9;
	for my $i (0 .. 9)
	{
		my ($from, $to) = ($first + 10 * $i, $first + 10 * $i + 9);
		$sessions[$i]->query("BEGIN; INSERT INTO orders
			SELECT g, 'SUBMITTED', 1 FROM generate_series($from, $to) g");
	}
	return @sessions;
}

sub numbers
{
	return $node->safe_psql('postgres', q{
		SELECT count(*), count(DISTINCT key), (SELECT count(*)
			FROM order_guard.incident WHERE kind = 'vanished'),
			(SELECT count(*) FROM order_guard.incident WHERE kind = 'storm')
		FROM order_guard.attempt});
}

my @sessions = fill(1);
$node->stop('immediate');
$_->abandon for @sessions;

# The worker has written all attempts and waits for the table that says how
# far it has read, when it is killed.
$node->append_conf('postgresql.conf', 'order_guard.enabled = off');
$node->start;
scan($node);
is(numbers(), '0|0|0|0', 'nothing while it is off');
my $locker = session($node);
$locker->query('BEGIN; LOCK order_guard.position');
$node->append_conf('postgresql.conf', 'order_guard.enabled = on');
$node->reload;
my $waiting = q{SELECT count(*) = 1 FROM pg_locks
	WHERE relation = 'order_guard.position'::regclass AND NOT granted};
my $asker = session($node);
$asker->send('SELECT * FROM order_guard.scan();');
ok($node->poll_query_until('postgres', $waiting), 'in the middle of draining');
my $worker = q{SELECT pid FROM pg_stat_activity
	WHERE backend_type = 'order_guard worker'};
crash($node, $node->safe_psql('postgres', $worker));
$_->abandon for $locker, $asker;
scan($node);
is(numbers(), '100|100|100|0', 'kill -9 of the worker while it drains');

# What was written and not yet consumed when the server went down: put the
# segments back as they were.
my $journal = journal_of($node);
@sessions = fill(101);
$node->stop('immediate');
$_->abandon for @sessions;
my $content = slurp_file($journal);
$node->start;
scan($node);
is(numbers(), '200|200|200|0', 'a second crash');
$node->stop('immediate');
open my $file, '+<', $journal or die "$journal: $!";
binmode $file;
seek $file, 4096, 0;
print $file substr($content, 4096);
close $file;
$node->start;
scan($node);
is(numbers(), '200|200|200|0', 'a crash between commit and consumption');

# A worker that is told to end while it drains.
@sessions = fill(201);
$node->stop('immediate');
$_->abandon for @sessions;
$node->append_conf('postgresql.conf', 'order_guard.enabled = off');
$node->start;
scan($node);
$locker = session($node);
$locker->query('BEGIN; LOCK order_guard.position');
$node->append_conf('postgresql.conf', 'order_guard.enabled = on');
$node->reload;
$asker = session($node);
$asker->send('SELECT * FROM order_guard.scan();');
ok($node->poll_query_until('postgres', $waiting), 'again in the middle');
$node->safe_psql('postgres',
	"SELECT pg_terminate_backend(pid) FROM ($worker) w");
$locker->query('COMMIT');
$_->abandon for $locker, $asker;
scan($node);
is(numbers(), '300|300|300|0', 'terminated worker');
is( $node->safe_psql('postgres',
		'SELECT journal_used, corrupt, dropped FROM order_guard.stat_worker'),
	'0|0|0', 'the journal is empty');
$node->stop('fast');
done_testing();
