# A commit of which the client may not have heard is told as such: never of a
# connection that is ended while it is idle, never as an order that vanished.
use strict;
use warnings;
use IO::Socket::INET;
use IO::Socket::UNIX;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Socket;
use Test::More;

my $node = guarded_node('unacknowledged', q{
listen_addresses = '127.0.0.1'
wal_level = replica
max_wal_senders = 2
});
$node->safe_psql('postgres', q{
	CREATE PROCEDURE place(key integer) LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO orders VALUES (key, 'SUBMITTED');
		COMMIT;
		PERFORM pg_sleep(600);
	END$$});
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my $key = 0;

# ---------------------------------------------------------------------------
# A client that speaks the protocol, and says no more than it has to.

sub message
{
	my ($type, $body) = @_;
	return $type . pack('N', length($body) + 4) . $body;
}

sub query
{
	return message('Q', "$_[0]\0");
}

# Reads messages until the server waits for the next one; their types.
sub answer
{
	my ($socket) = @_;
	my $types = '';
	while (1)
	{
		my $head = '';
		while (length $head < 5)
		{
			sysread($socket, $head, 5 - length $head, length $head)
			  or die 'the server is gone';
		}
		my ($type, $length) = unpack 'aN', $head;
		my $body = '';
		while (length $body < $length - 4)
		{
			sysread($socket, $body, $length - 4 - length $body, length $body)
			  or die 'the server is gone';
		}
		$types .= $type;
		return ($types, $body) if $type eq 'Z';
	}
}

sub connect_to
{
	my ($local) = @_;
	my $socket = $local
	  ? IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port)
	  : IO::Socket::INET->new(
		PeerAddr => '127.0.0.1',
		PeerPort => $node->port);
	die "cannot connect: $@" unless $socket;
	my $start = pack('N', 196608) . join("\0", user => $user,
		database => 'postgres', application_name => 'client', '', '');
	syswrite $socket, pack('N', length($start) + 4) . $start;
	answer($socket);
	return $socket;
}

# The process that serves it.
sub server_of
{
	my ($socket) = @_;
	$key++;
	syswrite $socket, query("SET application_name = 'client$key'");
	answer($socket);
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
		WHERE application_name = 'client$key'");
}

# Waits until no process of a client of ours is left.
sub gone
{
	$node->poll_query_until('postgres', q{SELECT count(*) = 0
		FROM pg_stat_activity WHERE application_name LIKE 'client%'})
	  or die 'a session stays';
	return;
}

sub waits
{
	my ($pid, $event) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = 1
		FROM pg_stat_activity WHERE pid = $pid AND wait_event = '$event'")
	  or die "the session does not wait for $event";
	return;
}

# Does the order of this number have the incident, and only that?
sub told
{
	my ($what, $cause, $final) = @_;
	$final //= 't';
	scan($node);
	is( $node->safe_psql('postgres', "SELECT kind, severity, state,
			evidence ->> 'cause' FROM order_guard.incidents
			WHERE key = '$key'"),
		$cause ? "unacknowledged|info|open|$cause" : '', $what);
	is( $node->safe_psql('postgres', "SELECT outcome, cause
			FROM order_guard.attempts WHERE key = '$key'"),
		$cause ? "unacknowledged|$cause" : '', "$what: attempts");
	is( $node->safe_psql('postgres', "SELECT outcome, final,
			coalesce(reason, '') LIKE 'it was committed, but its client may %'
			FROM order_guard.outcome('orders', '$key')"),
		"committed|$final|" . ($cause ? 't' : 'f'), "$what: outcome");
	return;
}

# ---------------------------------------------------------------------------
# The client is gone before the answer is there.

for my $local (1, 0)
{
	my $where = $local ? 'local socket' : 'TCP';
	for my $way ('close', 'commit')
	{
		my $socket = connect_to($local);
		my $pid = server_of($socket);
		if ($way eq 'commit')
		{
			syswrite $socket, query('BEGIN') . query(
				"INSERT INTO orders VALUES ($key, 'SUBMITTED', 7)");
			answer($socket) for 1 .. 2;
		}
		# Stopped, so that the client is faster.
		kill 'STOP', $pid;
		syswrite $socket, query($way eq 'commit' ? 'COMMIT'
			: "INSERT INTO orders VALUES ($key, 'SUBMITTED', 7)");
		close $socket;
		kill 'CONT', $pid;
		gone();
		told("$where: $way and gone", 'connection lost');
	}
}
like( $node->safe_psql('postgres', "SELECT summary
		FROM order_guard.incidents WHERE key = '$key'"),
	qr/^order $key of public.orders was placed: it was committed, but its client may not have heard: the connection broke before the answer was through$/,
	'in words');

# Gone when the answer is there, but not read.
{
	my $socket = connect_to(1);
	my $pid = server_of($socket);
	syswrite $socket, query("INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	$node->poll_query_until('postgres', "SELECT count(*) = 1
		FROM pg_stat_activity WHERE pid = $pid AND state = 'idle'
		AND query LIKE 'INSERT%'") or die 'the session is not idle';
	close $socket;
	gone();
	told('an answer that is not read', 'connection lost');
}

# A client that is killed with the socket full, behind its commit.
{
	my $socket = connect_to(1);
	my $pid = server_of($socket);
	syswrite $socket, query("BEGIN; INSERT INTO orders
		VALUES ($key, 'SUBMITTED'); COMMIT;
		SELECT repeat('x', 10000) FROM generate_series(1, 1000)");
	waits($pid, 'ClientWrite');
	scan($node);
	close $socket;
	gone();
	told('a full socket, and the commit read before', 'connection lost');
}
{
	my $socket = connect_to(0);
	my $pid = server_of($socket);
	syswrite $socket, query("BEGIN; INSERT INTO orders
		VALUES ($key, 'SUBMITTED'); COMMIT;
		SELECT repeat('x', 10000) FROM generate_series(1, 10000)");
	waits($pid, 'ClientWrite');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	gone();
	told('terminated with the socket full', 'terminated');
	close $socket;
}

# The backend is ended behind the commit.
{
	my $socket = connect_to(1);
	my $pid = server_of($socket);
	syswrite $socket, query("CALL place($key)");
	waits($pid, 'PgSleep');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	gone();
	told('a procedure that has committed', 'terminated');
	close $socket;
}

# A commit that waits for a standby, and is terminated: it stays committed.
$node->safe_psql('postgres', q{
	ALTER SYSTEM SET synchronous_standby_names = 'nobody';
	ALTER SYSTEM SET synchronous_commit = 'local';
	SELECT pg_reload_conf()});
for my $end ('terminated', 'connection lost', 'crash')
{
	my $socket = connect_to(1);
	my $pid = server_of($socket);
	syswrite $socket, query('SET synchronous_commit = on');
	answer($socket);
	syswrite $socket, query("INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	waits($pid, 'SyncRep');
	if ($end eq 'terminated')
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	}
	elsif ($end eq 'crash')
	{
		crash($node, $pid);
	}
	else
	{
		close $socket;
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	}
	gone();
	told("COMMIT waits for a standby: $end", $end, 'f');
	close $socket;
}
$node->safe_psql('postgres', q{ALTER SYSTEM RESET synchronous_standby_names;
	ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()});

# ---------------------------------------------------------------------------
# Never of a connection that is idle.

my %ends = (
	'Terminate' => sub { syswrite $_[0], message('X', '') },
	'close' => sub { close $_[0] },
	'reset' => sub {
		setsockopt $_[0], SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
		close $_[0];
	},
	'pg_terminate_backend' => sub {
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($_[1])");
	},
	'terminated while stopped' => sub {
		kill 'STOP', $_[1];
		kill 'TERM', $_[1];
		close $_[0];
		kill 'CONT', $_[1];
	},
	'idle_session_timeout' => sub { },
	'after another statement' => sub {
		syswrite $_[0], query('SELECT 1');
		answer($_[0]);
		close $_[0];
	},
	'another statement not answered' => sub {
		kill 'STOP', $_[1];
		syswrite $_[0], query('SELECT 1');
		close $_[0];
		kill 'CONT', $_[1];
	},
	'a notification not read' => sub {
		$node->safe_psql('postgres', 'NOTIFY unread');
		$node->poll_query_until('postgres', "SELECT count(*) = 0
			FROM pg_stat_activity WHERE pid = $_[1] AND wait_event_type
			IS DISTINCT FROM 'Client'");
		# it is there when the next one has been read
		sysread $_[0], my $byte, 1;
		close $_[0];
	},
	'a notification refused' => sub {
		kill 'STOP', $_[1];
		$node->safe_psql('postgres', 'NOTIFY unread');
		close $_[0];
		kill 'CONT', $_[1];
	},
	'chained, close' => sub { close $_[0] },
	'chained, terminated' => sub {
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($_[1])");
	},
	'in the next transaction' => sub {
		syswrite $_[0], query('BEGIN');
		answer($_[0]);
		close $_[0];
	});
for my $local (1, 0)
{
	for my $end (sort keys %ends)
	{
		my $socket = connect_to($local);
		my $pid = server_of($socket);
		my @before = ('LISTEN unread');
		push @before, 'SET idle_session_timeout = 200'
		  if $end eq 'idle_session_timeout';
		for my $sql (@before, 'BEGIN',
			"INSERT INTO orders VALUES ($key, 'SUBMITTED')",
			$end =~ /^chained/ ? 'COMMIT AND CHAIN' : 'COMMIT')
		{
			syswrite $socket, query($sql);
			answer($socket);
		}
		$ends{$end}->($socket, $pid);
		gone();
		told(($local ? 'local socket' : 'TCP') . ", idle: $end");
		close $socket;
	}
}

# Pooled connections that are idle when the server is stopped or crashes.
for my $how ('stop', 'crash', 'immediate')
{
	my $socket = connect_to(1);
	my $pid = server_of($socket);
	syswrite $socket, query("INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	answer($socket);
	if ($how eq 'crash')
	{
		crash($node, $pid);
	}
	else
	{
		$node->stop($how eq 'stop' ? 'fast' : 'immediate');
		$node->start;
	}
	told("idle, and the server goes down: $how");
	close $socket;
}

is( $node->safe_psql('postgres', q{SELECT kind, summary
		FROM order_guard.incidents WHERE kind <> 'unacknowledged'}),
	'', 'none of it is anything else');

# Who works on such an order again settles it.
my $open = q{SELECT count(*) FROM order_guard.incidents
	WHERE kind = 'unacknowledged' AND state = 'open'};
my $before = $node->safe_psql('postgres', $open);
$node->safe_psql('postgres', q{UPDATE orders SET status = 'PAID'
	WHERE id = 1});
scan($node);
is($node->safe_psql('postgres', $open), $before - 1,
	'work on the order clears it');
$node->stop('fast');
done_testing();
