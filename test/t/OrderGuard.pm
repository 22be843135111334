# What the TAP tests of crashes and reasons share: a server with a guarded
# table, sessions that stay open, and the journal's file as bytes.
package OrderGuard;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes 'usleep';

our @EXPORT = qw(guarded_node session pid_of attempts ready scan scan_until
  journal_of kill_hard crash inject_fault);

# A started server that guards the table orders, with a worker that only ticks
# when scan() asks.
sub guarded_node
{
	my ($name, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $directory = $node->basedir . '/journal';

	mkdir $directory or die "mkdir $directory: $!";
	$node->init;
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'order_guard'
order_guard.journal_directory = '$directory'
order_guard.naptime = '1h'
order_guard.vanish_grace = 0
order_guard.storm_threshold = 10000
max_connections = 30
max_prepared_transactions = 5
max_wal_senders = 0
autovacuum = off
restart_after_crash = on
} . ($conf // ''));
	$node->start;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION order_guard;
		CREATE TABLE orders (id integer PRIMARY KEY, status text NOT NULL,
			amount numeric);
		SELECT order_guard.watch('orders', 'status',
			'{"SUBMITTED": "1 h"}', '{PAID}')});
	$node->safe_psql('postgres', 'SELECT * FROM order_guard.scan()');
	return $node;
}

# Waits until the server, which is restarting by itself, answers again.  The
# query is an argument: a psql that is turned away leaves its input unread, and
# now and then IPC::Run dies of that, in poll_query_until(), too.
sub ready
{
	my ($node) = @_;
	my ($out, $err);

	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		IPC::Run::run(
			[
				$node->installed_command('psql'), '-XAtw',
				'-d', $node->connstr('postgres'),
				'-c', 'SELECT NOT pg_is_in_recovery()'
			],
			'<', \undef, '>', \$out, '2>', \$err);
		return if $out eq "t\n";
		usleep(100_000);
	}
	die "the server does not come back: $err";
}

sub scan
{
	my ($node) = @_;
	return $node->safe_psql('postgres', 'SELECT * FROM order_guard.scan()');
}

# Ticks until a query answers true.
sub scan_until
{
	my ($node, $query) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) FROM order_guard.scan(); $query", "1\nt");
}

# Columns of the attempts, one per line, in the order of their keys.
sub attempts
{
	my ($node, $columns) = @_;
	return $node->safe_psql('postgres', "SELECT $columns
		FROM order_guard.attempt ORDER BY key::integer, id");
}

# Sends SIGKILL to a process of the server and waits for the restart.
sub crash
{
	my ($node, $pid) = @_;
	my $offset = -s $node->logfile;

	kill 'KILL', $pid;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/,
		$offset);
	ready($node);
	return;
}

# In a build that can fail on purpose: where to (see fault.h); '' ends it.
sub inject_fault
{
	my ($node, $fault) = @_;
	$node->append_conf('postgresql.conf', "order_guard.fault = '$fault'");
	$node->reload;
	return;
}

# SIGKILL to the postmaster; returns when it and all its children are gone.
sub kill_hard
{
	my ($node) = @_;
	my @pids = split /\n/,
	  $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity');
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~
	  /^(\d+)/;

	$node->kill9;
	for my $pid (@pids, $postmaster)
	{
		my $waited = 0;
		while (kill 0, $pid)
		{
			die "process $pid stays" if $waited++ > 1800;
			usleep(100_000);
		}
	}
	return;
}

# The path of the journal.
sub journal_of
{
	my ($node) = @_;
	my ($path) = grep { !/\.(old|damaged\.\d+)$/ }
	  glob($node->basedir . '/journal/order_guard.*');
	return $path;
}

# ---------------------------------------------------------------------------
# A psql that stays open.

sub session
{
	my ($node, %options) = @_;
	my $self = bless { in => '', out => '', err => '', number => 0 },
	  'OrderGuard::Session';
	local $ENV{PGAPPNAME} = $options{name} // 'session';

	$self->{handle} = IPC::Run::start(
		[
			'psql', '-XAtq', '-f', '-', '-d',
			$node->connstr($options{dbname} // 'postgres')
		],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err},
		IPC::Run::timeout(180));
	$self->{pid} = $self->query('SELECT pg_backend_pid()');
	return $self;
}

sub pid_of
{
	return $_[0]->{pid};
}

package OrderGuard::Session;

# Runs statements; returns what they print, without the last newline.
sub query
{
	my ($self, $sql) = @_;
	my $end = 'end-of-query-' . ++$self->{number};

	$self->{out} = '';
	$self->send("$sql;\n\\echo $end");
	$self->{handle}->pump until $self->{out} =~ /$end\n/;
	my ($answer) = $self->{out} =~ /^(.*)$end\n/s;
	$answer =~ s/\n$//;
	return $answer;
}

# Sends statements without waiting.
sub send
{
	my ($self, $sql) = @_;
	$self->{in} .= "$sql\n";
	$self->{handle}->pump_nb;
	return;
}

sub errors
{
	return $_[0]->{err};
}

# Ends psql as it likes to end: with a Terminate message.
sub quit
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	eval { $self->{handle}->finish; };
	return;
}

# Its server has gone away.
sub abandon
{
	my ($self) = @_;
	eval { $self->{handle}->kill_kill; };
	return;
}

sub client_pid
{
	return $_[0]->{handle}{KIDS}[0]{PID};
}

1;
