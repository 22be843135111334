#!/usr/bin/perl
# control.pl DURATION SEED CLIENT
#
# Starts the clients, makes faults strike as the seed says, brings everything
# to rest.  Runs in the folder of the server's data (PGHOST), whose clients
# log into the folder "log" here.  The sequence of faults depends on the seed
# alone; which process a fault hits, also on what is running then.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(time sleep);

my ($duration, $seed, $libpq_client) = @ARGV;
my $here = $0 =~ s{/[^/]*$}{}r;
my $data = $ENV{PGHOST};
my $work = POSIX::getcwd();
my $journal = $ENV{TORTURE_JOURNAL};
my (%client, %kind, %stopped);
my $clients = 0;
my $pooler;
my $has_settle;
my $started = time;
$ENV{PGCONNECT_TIMEOUT} = 10;
$| = 1;

# --- the plan ----------------------------------------------------------------

# Weight and least pause after it, in seconds.
my %fault = (
	terminate_backend => [ 12, 0.2 ],
	cancel_backend => [ 6, 0.2 ],
	kill_client => [ 8, 0.2 ],
	kill_backend => [ 4, 2.5 ],
	stop_worker => [ 3, 1.5 ],
	terminate_worker => [ 3, 0.5 ],
	kill_worker => [ 2, 2.5 ],
	immediate_restart => [ 3, 2.5 ],
	kill_postmaster => [ 1, 2.5 ],
	fast_restart => [ 1, 1.5 ],
	truncate_journal => [ 1, 2.5 ],
	fill_journal => [ 2, 2.5 ],
	kill_pooler => [ 1, 0.5 ],
);
if (my @only = split ' ', $ENV{FAULTS} // '')
{
	$fault{$_} or die "no such fault: $_\n" for @only;
	%fault = map { $_ => $fault{$_} } @only;
}

sub pick_fault
{
	my $total = 0;
	$total += $_->[0] for values %fault;
	my $pick = rand $total;
	for my $name (sort keys %fault)
	{
		return $name if ($pick -= $fault{$name}[0]) < 0;
	}
}

# Each destructive kind once at least when there is time for it.
sub make_plan
{
	my @plan;
	my @must = grep { $fault{$_} } qw(kill_backend stop_worker kill_worker
	  immediate_restart fill_journal truncate_journal kill_postmaster);
	my $at = 2;
	srand $seed;
	while ($at < $duration - 2)
	{
		my $name = @must && rand() < 0.25 ?
		  splice(@must, int rand @must, 1) : pick_fault();
		push @plan, { at => $at, name => $name, dice => rand };
		$at += $fault{$name}[1] + rand 1.5;
	}
	return @plan;
}

# --- means -------------------------------------------------------------------

# The first column of what a query gives, nothing when it fails.
sub query
{
	my ($sql) = @_;
	open my $psql, '-|', 'psql', '-XqAt', '-c', $sql or die "psql: $!";
	my @lines = <$psql>;
	close $psql;
	chomp @lines;
	return @lines;
}

sub pick
{
	my ($fault, @choices) = @_;
	return @choices ? $choices[ int $fault->{dice} * @choices ] : undef;
}

sub backends
{
	return query(q{SELECT pid FROM pg_stat_activity
		WHERE application_name LIKE 'client%' ORDER BY backend_start});
}

sub worker
{
	return query(q{SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'order_guard worker'
		AND datname = current_database()});
}

# What the journal may have lost: the judge asks for it.
sub note_loss
{
	my ($from, $what) = @_;
	open my $log, '>>', 'losses' or die "losses: $!";
	printf $log "%.6f %.6f %s\n", $from, time, $what;
	close $log;
	return;
}

# What was noted before is out of the journal.
sub last_reading
{
	my ($at) = query(q{SELECT extract(epoch FROM max(at)) - 1
		FROM order_guard.position});
	return $at // time - 60;
}

sub read_journal
{
	for (1 .. 60)
	{
		return if query('SELECT * FROM order_guard.scan()');
		sleep 0.1;
	}
	die "the journal is not read\n";
}

sub wait_for_server
{
	for (1 .. 600)
	{
		return if query('SELECT 1 WHERE NOT pg_is_in_recovery()');
		sleep 0.1;
	}
	die "the server does not come back\n";
}

sub pg_ctl
{
	my @arguments = @_;
	return system("pg_ctl -D '$data' -l '$data/server.log' -s -w "
		  . "@arguments >>control.log 2>&1") == 0;
}

sub start_server
{
	for (1 .. 20)
	{
		return wait_for_server() if pg_ctl('start');
		sleep 0.5;
	}
	die "the server does not start\n";
}

# The journal's name has the data directory's device and inode.
sub journal_file
{
	my ($device, $inode) = stat $data;
	my ($file) = glob sprintf "%s/order_guard.*.%x-%x", $journal, $device,
	  $inode;
	return $file;
}

sub continue_all
{
	kill 'CONT', $_ for keys %stopped;
	%stopped = ();
	return;
}

# --- pooler ------------------------------------------------------------------

sub pooler_program
{
	my ($program) = grep { -x } map { "$_/pgbouncer" }
	  split(/:/, $ENV{PATH}), '/usr/sbin';
	return $program;
}

# pgbouncer in transaction mode, where it is installed.
sub start_pooler
{
	my $program = pooler_program() or return;
	mkdir 'pooler';
	unlink glob 'pooler/.s.*';
	open my $file, '>', 'pooler.ini' or die "pooler.ini: $!";
	print $file <<"END";
[databases]
* = host=$data port=$ENV{PGPORT} user=postgres
[pgbouncer]
unix_socket_dir = $work/pooler
listen_port = 6432
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_login_retry = 1
END
	close $file;
	$pooler = fork // die "fork: $!";
	if ($pooler == 0)
	{
		open STDERR, '>>', 'pooler.log' or die "pooler.log: $!";
		exec $program, '-q', "$work/pooler.ini" or POSIX::_exit(1);
	}
	return 1;
}

sub end_pooler
{
	kill 'KILL', $pooler if $pooler;
	waitpid $pooler, 0 if $pooler;
	$pooler = undef;
	return;
}

# --- clients -----------------------------------------------------------------

sub works
{
	my @command = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		open STDOUT, '>', '/dev/null';
		open STDERR, '>', '/dev/null';
		exec @command or POSIX::_exit(1);
	}
	waitpid $pid, 0;
	return $? == 0;
}

# The commands of those kinds that are installed.
sub find_kinds
{
	$kind{libpq} = [$libpq_client];
	$kind{psql} = ["$here/psql_client"];
	$kind{psycopg} = [ '/usr/bin/python3', "$here/psycopg_client.py" ]
	  if works('/usr/bin/python3', '-c', 'import psycopg2');
	$kind{node} = [ 'node', "$here/node_client.cjs" ]
	  if works('node', '-e', 'require("pg").DatabaseError.name');
	$kind{jdbc} = [
		qw(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData),
		'-Xmx64m', '-cp', $ENV{TORTURE_JDBC}, 'TortureClient' ]
	  if $ENV{TORTURE_JDBC};
	return;
}

sub start_client
{
	my ($kind) = @_;
	my ($command, $pooled) = $kind =~ /^([a-z]+)(_pooled)?$/;
	my $name = 'client' . ++$clients . "_$kind";
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		$SIG{TERM} = 'DEFAULT';
		@ENV{qw(PGHOST PGPORT)} = ("$work/pooler", 6432) if $pooled;
		exec @{ $kind{$command} }, $name, $seed * 1000 + $clients,
		  "log/$name"
		  or POSIX::_exit(1);
	}
	$client{$pid} = $kind;
	return;
}

sub start_clients
{
	find_kinds();
	my @start = (('libpq') x 6, grep { $_ ne 'libpq' } sort keys %kind);
	push @start, map { "${_}_pooled" } grep { $kind{$_} } qw(libpq node psycopg)
	  if start_pooler();
	print "clients: @start\n";
	start_client($_) for @start;
	return;
}

# Asks about orders that are on their way, until told to end.
sub start_settler
{
	my $pid = fork // die "fork: $!";
	if ($pid)
	{
		$client{$pid} = undef;
		return;
	}
	my $going = 1;
	local $SIG{TERM} = sub { $going = 0 };
	open my $log, '>>', 'settled' or die "settled: $!";
	$log->autoflush;
	while ($going)
	{
		my @files = glob 'log/client*';
		my $last = @files ? `tail -n 1 $files[rand @files]` : '';
		sleep 0.05;
		my (undef, $token) = split ' ', $last;
		next if !defined $token;
		my $cancel = rand() < 0.5 ? 'true' : 'false';
		my ($answer) = query("SELECT outcome, final
			FROM order_guard.settle('$token', $cancel, '2 s')");
		printf $log "%.6f %s %s\n", time, $token,
		  join ' ', split /\|/, $answer
		  if $answer;
	}
	POSIX::_exit(0);
}

sub stop_clients
{
	kill 'TERM', keys %client;
	my $until = time + 30;
	while (%client && time < $until)
	{
		my $pid = waitpid -1, POSIX::WNOHANG;
		delete $client{$pid} if $pid > 0;
		sleep 0.05 if $pid <= 0;
	}
	kill 'KILL', keys %client;
	waitpid $_, 0 for keys %client;
	%client = ();
	end_pooler();
	return;
}

# --- faults ------------------------------------------------------------------

my %strike = (
	terminate_backend => sub {
		my $pid = pick($_[0], backends()) or return;
		query("SELECT pg_terminate_backend($pid)");
	},
	cancel_backend => sub {
		my $pid = pick($_[0], backends()) or return;
		query("SELECT pg_cancel_backend($pid)");
	},
	kill_backend => sub {
		my $pid = pick($_[0], backends()) or return;
		kill 'KILL', $pid;
	},
	kill_client => sub {
		my $pid = pick($_[0], grep { $client{$_} } sort keys %client)
		  or return;
		my $kind = delete $client{$pid};
		kill 'KILL', $pid;
		waitpid $pid, 0;
		start_client($kind);
	},
	stop_worker => sub {
		my ($pid) = worker() or return;
		kill 'STOP', $pid;
		$stopped{$pid} = 1;
		sleep 1;
		continue_all();
	},
	terminate_worker => sub {
		my ($pid) = worker() or return;
		kill 'TERM', $pid;
	},
	kill_worker => sub {
		my ($pid) = worker() or return;
		kill 'KILL', $pid;
	},
	immediate_restart => sub {
		pg_ctl('-m immediate stop');
		start_server();
	},
	kill_postmaster => sub {
		my ($pid) = `head -n 1 '$data/postmaster.pid'` =~ /(\d+)/ or return;
		kill 'KILL', $pid;
		start_server();
	},
	fast_restart => sub {
		pg_ctl('-m fast stop');
		start_server();
	},
	truncate_journal => sub {
		my $from = last_reading();
		pg_ctl('-m immediate stop');
		my $file = journal_file();
		truncate $file, int $_[0]{dice} * -s $file if $file;
		start_server();
		note_loss($from, 'truncated');
	},

	kill_pooler => sub {
		$pooler or return;
		end_pooler();
		start_pooler();
	},

	# More than the journal holds, while nobody reads it.
	fill_journal => sub {
		my ($pid) = worker() or return;
		my $from = time - 1;
		kill 'STOP', $pid;
		$stopped{$pid} = 1;
		# it may have been stopped with a lock on a page that others want
		system("timeout 10 pgbench -n -c 2 -t 1500 -f '$here/fill.pgbench' "
			  . '>>control.log 2>&1');
		continue_all();
		read_journal();			# there is room again
		note_loss($from, 'full');
	},
);

sub torment
{
	for my $fault (make_plan())
	{
		my $wait = $started + $fault->{at} - time;
		sleep $wait if $wait > 0;
		printf "%6.1f s  %s\n", time - $started, $fault->{name} =~ tr/_/ /r;
		$strike{ $fault->{name} }->($fault);
	}
	my $wait = $started + $duration - time;
	sleep $wait if $wait > 0;
	return;
}

# --- the end -----------------------------------------------------------------

# Orphaned prepared transactions are finished, this way or that.
sub finish_prepared
{
	for my $gid (query('SELECT gid FROM pg_prepared_xacts'))
	{
		my $how = unpack('%32C*', $gid) % 2 ? 'COMMIT' : 'ROLLBACK';
		query("$how PREPARED '$gid'");
	}
	return;
}

# Nothing is open, everything is read, swept and judged.
sub come_to_rest
{
	continue_all();
	wait_for_server();
	query(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE application_name LIKE 'client%'});
	finish_prepared();
	for (1 .. 120)
	{
		query('SELECT * FROM order_guard.scan()');
		my ($done) = query(q{SELECT
			NOT EXISTS (SELECT FROM pg_stat_activity
				WHERE application_name LIKE 'client%')
			AND NOT EXISTS (SELECT FROM pg_prepared_xacts)
			AND NOT EXISTS (SELECT FROM order_guard.in_flight)
			AND NOT EXISTS (SELECT FROM order_guard.attempt
				WHERE judge_at IS NOT NULL)
			AND NOT EXISTS (SELECT FROM order_guard.watch_state
				WHERE sweep IS NOT NULL)
			AND NOT EXISTS (SELECT FROM order_guard.incident
				WHERE state = 'open' AND kind = 'coverage')});
		return if ($done // '') eq 't';
		sleep 0.25;
	}
	print "it does not come to rest\n";
	return;
}

# Told to end in the middle: nothing is left behind.
$SIG{TERM} = sub {
	kill 'CONT', keys %stopped;
	kill 'KILL', keys %client, $pooler // ();
	exit 1;
};

mkdir 'log';
wait_for_server();
($has_settle) =
  query(q{SELECT to_regprocedure('order_guard.settle(text,boolean,interval)')});
if ($has_settle)
{
	query(q{SELECT order_guard.watch('orders', 'status',
		options => '{"settle": true}')}) or die "no settle()\n";
}
start_clients();
if ($has_settle)
{
	start_settler();
}
torment();
stop_clients();
come_to_rest();
