# The journal's file is missing, cannot be written, has no room, changes its
# size: the server starts, orders go on, and nothing is passed over in silence.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('file');
my $path = journal_of($node);
my $directory = $node->basedir . '/journal';
my $key = 0;

sub place
{
	$key++;
	$node->safe_psql('postgres',
		"INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	return $key;
}

# An order that is open when the server is stopped.
sub lose
{
	my $session = session($node);
	$key++;
	$session->query("BEGIN; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	$node->stop('immediate');
	$session->abandon;
	return $key;
}

sub is_lost
{
	my ($lost, $what) = @_;
	scan($node);
	is( $node->safe_psql('postgres', "SELECT outcome
			FROM order_guard.attempt WHERE key = '$lost'"),
		'rolled_back', $what);
	return;
}

# Each order that was placed is tracked, and the gap was told and is closed.
sub complete
{
	my ($what) = @_;
	ok( scan_until($node, q{SELECT (SELECT count(*) FROM order_guard.tracked)
			= (SELECT count(*) FROM orders)}), "$what: all orders are known");
	ok( scan_until($node, q{SELECT count(*) > 0 AND bool_and(state = 'cleared')
			FROM order_guard.incident WHERE kind = 'coverage'}),
		"$what: the gap was told and is closed");
	$node->safe_psql('postgres', q{DELETE FROM order_guard.incident
		WHERE kind = 'coverage'});
	return;
}

# Without a directory for it: orders go on, and one is told.
sub without_journal
{
	my ($what, $setting, $reason) = @_;
	my $offset = -s $node->logfile;
	$node->append_conf('postgresql.conf',
		"order_guard.journal_directory = '$setting'");
	$node->restart;
	ok( $node->log_contains(qr/LOG:  could not .* journal .*$reason/, $offset),
		"$what: the log says so");
	place();
	my $session = session($node);
	$session->query(q{BEGIN; UPDATE orders SET amount = 1; ROLLBACK});
	ok( scan_until($node, q{SELECT state = 'open' FROM order_guard.incident
			WHERE kind = 'coverage'
			AND evidence->>'gap' = 'there is no journal'}),
		"$what: an incident says so");
	crash($node, $session->{pid});
	$session->abandon;
	place();
	scan($node);
	$node->append_conf('postgresql.conf',
		"order_guard.journal_directory = '$directory'");
	$node->restart;
	place();
	complete($what);
	return;
}

place();
without_journal('no directory', "$directory/none",
	'No such file or directory');
SKIP:
{
	skip 'root may write anywhere', 4 if $> == 0;
	mkdir "$directory/closed", 0500;
	without_journal('closed directory', "$directory/closed",
		'Permission denied');
}
SKIP:
{
	# A limit of the file size is a full disk that needs no root.
	skip 'no limits', 1 if system("sh -c 'ulimit -f 100' 2>/dev/null") != 0;
	my $offset = -s $node->logfile;
	$node->stop('fast');
	unlink $path;
	$node->append_conf('postgresql.conf',
		q{order_guard.journal_size = '64MB'});
	system_or_bail('sh', '-c',
		'ulimit -S -f 60000; exec pg_ctl -s -w -D "$1" -l "$2" start',
		'sh', $node->data_dir, $node->logfile);
	$node->_update_pid(1);
	ok( $node->log_contains(qr/could not allocate journal/, $offset),
		'no room: the log says so');
	ok(!-e $path, 'no room: nothing is left behind');
	place();
	scan($node);
	$node->restart;
	complete('no room');
}

# Gone, closed and cut while the server is down.
sub while_stopped
{
	my ($what, $code) = @_;
	$node->stop('fast');
	$code->();
	$node->start;
	place();
	complete($what);
	return;
}
while_stopped('missing', sub { unlink $path });
while_stopped('read-only', sub { chmod 0400, $path });
while_stopped('truncated', sub { truncate $path, 100_000 });
while_stopped('no nonce',
	sub { unlink $node->data_dir . '/pg_stat_tmp/order_guard.nonce' });

# Removed while the server runs: a crash brings it back, with what it held.
my $session = session($node);
$key++;
$session->query("BEGIN; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
unlink $path;
crash($node, $session->{pid});
$session->abandon;
ok(-e $path, 'removed: it is there again');
is_lost($key, 'removed: nothing is lost');
my $lost = lose();
$node->start;
is_lost($lost, 'removed: it works on');

# Truncated while the server runs and nobody looks into it: a new one.
my $worker = q{SELECT pid FROM order_guard.stat_worker};
my $pid = $node->safe_psql('postgres', $worker);
truncate $path, 4096;
crash($node, $pid);
place();
complete('truncated and crashed');

# Grown and shrunk, always with something undecided in it.
my $size = q{SELECT journal_segments FROM order_guard.stat_worker};
for my $mb (16, 64, 1, 8)
{
	$lost = lose();
	$node->append_conf('postgresql.conf',
		"order_guard.journal_size = '${mb}MB'");
	$node->start;
	is_lost($lost, "journal_size ${mb}MB: nothing is lost");
	cmp_ok($node->safe_psql('postgres', $size), '>=', $mb * 64,
		"journal_size ${mb}MB: large enough");
}
is(-s $path, 4096 + 16384 * $node->safe_psql('postgres', $size),
	'the file is as large as it says');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM order_guard.incident
		WHERE kind = 'coverage'}), 0, 'and there was no gap');
$node->stop('fast');
done_testing();
