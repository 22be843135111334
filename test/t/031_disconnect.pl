# A session that ends inside an open transaction says how, and is not taken
# for another one that later has its process id.
use strict;
use warnings;
use JournalFile;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('disconnect');
my $key = 0;

sub ends
{
	my ($what, $expected, $code, $set) = @_;
	for my $level ('', 'panic')
	{
		$key++;
		my $session = session($node);
		$session->query("SET log_min_messages = $level") if $level;
		$session->query($set) if $set;
		$session->query("BEGIN; INSERT INTO orders
			VALUES ($key, 'SUBMITTED')");
		$code->($session);
		$node->poll_query_until('postgres', "SELECT count(*) = 0
			FROM pg_stat_activity WHERE pid = $session->{pid}")
		  or die 'the session stays';
		scan($node);
		my ($with, $silent) = @$expected;
		is( $node->safe_psql('postgres', "SELECT cause, sqlstate, reason
				FROM order_guard.attempt WHERE key = '$key'"),
			$level ? $silent // $with : $with,
			$what . ($level && " ($level)"));
		$session->abandon;
	}
	return;
}

ends('Terminate',
	['disconnect||the client closed the connection before COMMIT'],
	sub { $_[0]->quit });
ends('after an error that was got over',
	['disconnect||the client closed the connection before COMMIT'],
	sub {
		$_[0]->query(q{DO $$BEGIN PERFORM 1 / (id - id) FROM orders;
			EXCEPTION WHEN OTHERS THEN END$$});
		$_[0]->quit;
	});
ends('client killed',
	['connection lost||the connection broke before COMMIT'],
	sub { kill 'KILL', $_[0]->client_pid });
ends('pg_terminate_backend',
	[
		'terminated|57P01|'
		  . 'terminating connection due to administrator command',
		'terminated||the backend was told to end'
	],
	sub {
		$node->safe_psql('postgres',
			"SELECT pg_terminate_backend($_[0]->{pid})");
	});
ends('pg_terminate_backend of a busy one',
	['terminated|57P01|terminating connection due to administrator command'],
	sub {
		$_[0]->send('SELECT pg_sleep(600);');
		$node->poll_query_until('postgres', "SELECT count(*) = 1
			FROM pg_stat_activity WHERE pid = $_[0]->{pid}
			AND wait_event = 'PgSleep'");
		$node->safe_psql('postgres',
			"SELECT pg_terminate_backend($_[0]->{pid})");
	});
ends('idle_in_transaction_session_timeout',
	[
		'terminated|25P03|terminating connection due to '
		  . 'idle-in-transaction timeout',
		'terminated||the backend was told to end'
	],
	sub { }, q{SET idle_in_transaction_session_timeout = 100});

# A server that is stopped tells its sessions.
$key++;
my $session = session($node);
$session->query("BEGIN; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
$node->stop('fast');
$session->abandon;
$node->start;
scan($node);
is( $node->safe_psql('postgres', "SELECT cause, sqlstate
		FROM order_guard.attempt WHERE key = '$key'"),
	'terminated|57P01', 'fast shutdown');

# Three sessions use the same segment, with the same numbers of their
# transactions and, as we make it here, the same process id.
my $first = $key;
for my $end ('ROLLBACK', 'COMMIT', 'SELECT 1 / 0; ROLLBACK')
{
	$key++;
	$node->psql('postgres', "BEGIN;
		INSERT INTO orders VALUES ($key, 'SUBMITTED'); $end",
		on_error_stop => 0);
}
$node->stop('immediate');
my $journal = JournalFile->load(journal_of($node));
my @used = $journal->used;
is(@used, 1, 'one segment');
my $segment = $journal->segment($used[0]);
my @pids;
my $number = 1000;
for my $at (JournalFile::records($segment))
{
	next if unpack('C', substr $segment->{bytes}, $at + 6, 1)
		!= JournalFile::SESSION;
	push @pids, unpack 'V', substr $segment->{bytes}, $at + 32, 4;
	substr($segment->{bytes}, $at + 32, 4) = pack 'V', 4711;
}
is(@pids, 3, 'of three sessions');
$journal->put($used[0], $segment, $segment->{lease});
$journal->save;
$node->start;
scan($node);
is( $node->safe_psql('postgres', "SELECT key::integer - $first, cause, pid
		FROM order_guard.attempt WHERE key::integer > $first ORDER BY key"),
	"1|rollback|4711\n3|error|4711", 'the process id is not the identity');
is( $node->safe_psql('postgres', "SELECT id - $first FROM orders"), 2,
	'what committed is no attempt');
$node->stop('fast');
done_testing();
