# Ending a session goes by pg_signal_backend's own rules, as the role that
# asks: membership in the role of the session, or in pg_signal_backend, never
# a superuser's session by anybody else.  Whose table the orders are of gives
# no such right.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use OrderGuard;

my $node = guarded_node('rights', "order_guard.open_threshold = 1\n");
$node->safe_psql(
	'postgres', q{
	CREATE ROLE shop LOGIN;
	CREATE ROLE till LOGIN;
	CREATE ROLE colleague IN ROLE till;
	CREATE ROLE oncall IN ROLE pg_signal_backend;
	ALTER TABLE orders OWNER TO shop;
	GRANT INSERT, SELECT ON orders TO till;
	GRANT SELECT ON orders TO colleague, oncall});

# What each role may do about the incident of an open transaction.
sub answers
{
	my ($action, @roles) = @_;
	my @answers;

	for my $role (@roles)
	{
		push @answers, $node->safe_psql('postgres', qq{
			SET ROLE $role;
			SELECT current_user || ': ' || r.result || coalesce(' '
				|| substring(r.detail FROM 'membership|superuser'), '')
			FROM order_guard.incidents i, order_guard.resolve(i.id, '$action')
				r WHERE i.kind = 'uncommitted' AND i.state = 'open'});
	}
	return join "\n", @answers;
}

sub held_by
{
	my ($user, $key) = @_;
	my $holder;

	{
		local $ENV{PGUSER} = $user;
		$holder = session($node);
	}
	$holder->query("BEGIN; INSERT INTO orders VALUES ($key, 'SUBMITTED')");
	ok( scan_until($node, q{SELECT count(*) = 1 FROM order_guard.incident
		WHERE kind = 'uncommitted' AND state = 'open'}),
		"an order held by $user is an incident");
	return $holder;
}

my $holder = held_by('till', 1);
is( answers('cancel_query', qw(shop colleague oncall)),
	"shop: refused membership\ncolleague: queued\noncall: queued",
	'the owner of the table may not signal, who may signal backends may');
is(answers('terminate', 'oncall'), 'oncall: queued', 'it is queued');
scan($node);
is( $node->safe_psql(
		'postgres', q{SELECT by LIKE '% as oncall', result
			FROM order_guard.action WHERE action = 'terminate'}),
	't|done', 'and done, in the name of who asked');
ok( scan_until($node, q{SELECT count(*) = 0 FROM order_guard.incident
	WHERE kind = 'uncommitted' AND state = 'open'}), 'the session is gone');
$holder->abandon;

my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
$holder = held_by($superuser, 2);
is( answers('terminate', qw(oncall shop), qq{"$superuser"}),
	"oncall: refused superuser\nshop: refused superuser\n"
	  . "$superuser: queued",
	'a superuser is ended by superusers only');
$holder->abandon;

done_testing();
