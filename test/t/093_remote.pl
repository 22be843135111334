# A transaction that works in two databases (postgres_fdw): what committed
# over there and came to nothing here is told so, each by its own witness.
use strict;
use warnings;
use OrderGuard;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = guarded_node('remote', q{
max_prepared_transactions = 5
order_guard.open_threshold = '1ms'
});
my $watch = q{
	CREATE TABLE placed (id integer PRIMARY KEY, status text, token text UNIQUE);
	SELECT order_guard.watch('placed', 'status', '{"NEW": "1 h"}',
		token => 'token', options => '{"settle": true}')};
$node->safe_psql('postgres', 'CREATE DATABASE far');
$node->safe_psql('far', "CREATE EXTENSION order_guard; $watch");
my ($host, $port) = ($node->host, $node->port);
$node->safe_psql('postgres', "$watch;
	CREATE EXTENSION postgres_fdw;
	CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw
		OPTIONS (host '$host', port '$port', dbname 'far');
	CREATE USER MAPPING FOR CURRENT_USER SERVER far;
	CREATE FOREIGN TABLE placed_far (id integer, status text, token text)
		SERVER far OPTIONS (table_name 'placed')");

sub outcome
{
	my ($database, $token) = @_;
	return $node->safe_psql($database, "SELECT outcome, sqlstate, final
		FROM order_guard.outcome('$token')");
}

sub scan_both
{
	for my $database ('postgres', 'far')
	{
		$node->safe_psql($database, 'SELECT * FROM order_guard.scan()');
	}
	return;
}

sub place
{
	my ($id) = @_;
	my $session = session($node);
	$session->query("BEGIN; INSERT INTO placed VALUES ($id, 'NEW', 't$id');
		INSERT INTO placed_far VALUES ($id, 'NEW', 't$id')");
	return $session;
}

# Both or none, as long as nothing goes wrong.
my $session = place(1);
is(outcome('far', 't1') =~ s/\|.*//r, 'in_flight', 'open there');
$session->query('COMMIT');
is(outcome($_, 't1'), 'committed||t', "$_: committed") for 'postgres', 'far';
$session = place(2);
$session->query('ROLLBACK');
is(outcome($_, 't2') =~ s/\|.*//r, 'rolled_back', "$_: rolled back")
  for 'postgres', 'far';

# postgres_fdw has committed over there when the token is found to be settled.
# Who settles it may not end the session.
$node->safe_psql('postgres', 'CREATE ROLE owner');
$node->safe_psql('postgres', 'ALTER TABLE placed OWNER TO owner');
$session = place(3);
is( $node->safe_psql('postgres', q{SET ROLE owner; SELECT outcome
		FROM order_guard.settle('t3', true)}), 'settled', 'settled here');
$session->query('COMMIT');
like($session->errors, qr/OG001|settled/, 'refused here');
is(outcome('postgres', 't3') =~ s/\|.*//r, 'settled', 'not placed here');
is(outcome('far', 't3'), 'committed||t', 'placed there: it says so');

# The same of a transaction that is doomed.
$session->quit;
$session = place(4);
scan_both();
is( $node->safe_psql('postgres', q{SELECT r.result
		FROM order_guard.incidents i, order_guard.resolve(i.id, 'doom') r
		WHERE i.kind = 'uncommitted' AND i.state = 'open'}),
	'queued', 'to be doomed');
scan_both();
$session->query('COMMIT');
like($session->errors, qr/doomed/, 'its COMMIT fails');
scan_both();
is(outcome('postgres', 't4'), 'rolled_back|OG003|t', 'rolled back here');
is(outcome('far', 't4'), 'committed||t', 'committed there');
is( $node->safe_psql('far', q{SELECT count(*) FROM order_guard.tracked}),
	3, 'and tracked there');
is( $node->safe_psql('far', q{SELECT count(*) FROM order_guard.incident
		WHERE kind = 'vanished' AND key IN ('1', '3', '4')}),
	0, 'nothing is missed there');
$session->quit;
$node->stop('fast');
done_testing();
