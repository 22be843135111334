# What has no reader's rights, the server's log and NOTIFY, has keys only
# hashed where the watch says so; and nobody forges a line of the log, or a
# member of a payload, by what he calls his table, key, status or program.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use OrderGuard;

my $node = guarded_node('masked', "order_guard.open_threshold = 1\n");
my $listener = session($node);
$listener->query('LISTEN order_guard');

# What was heard since the last time.
sub heard
{
	my $answer = '';
	$listener->query('SELECT 1');
	$answer = $listener->{out};
	return $answer;
}

$node->safe_psql(
	'postgres', q{
	CREATE TABLE cards (pan text PRIMARY KEY, status text, owner text);
	SELECT order_guard.watch('cards', 'status', '{"PAYING": "1 us"}',
		customer => 'owner', options => '{"mask_key": true}');
	CREATE TABLE plain (pan text PRIMARY KEY, status text);
	SELECT order_guard.watch('plain', 'status', '{"PAYING": "1 us"}')});
scan($node);
my $position = -s $node->logfile;

# each kind that names orders: stalled, vanished, uncommitted
$node->safe_psql(
	'postgres', q{
	INSERT INTO cards VALUES ('4111-0001', 'PAYING', 'Jane Roe');
	INSERT INTO plain VALUES ('5222-0001', 'PAYING')});
$node->psql('postgres',
	q{BEGIN; INSERT INTO cards VALUES ('4111-0002', 'NEW', 'Jane Roe');
		SELECT 1/0; COMMIT}
);
my $holder = session($node, name => "till\nLOG:  forged \x{1b}[31m");
$holder->query(
	q{BEGIN; INSERT INTO cards VALUES ('4111-0003', 'NEW', 'Jane Roe')});
ok( scan_until($node, q{SELECT count(DISTINCT kind) = 3
	FROM order_guard.incident WHERE relation = 'cards'::regclass}),
	'stalled, vanished and uncommitted are reported');
$node->safe_psql('postgres', q{
	SELECT count(*) FROM order_guard.incidents, order_guard.resolve(id,
		'close', 'talked to 4111-0001') WHERE key = '4111-0001'});
$holder->quit;
scan($node);

my $log = slurp_file($node->logfile, $position);
my @lines = grep { /order_guard: incident/ } split /\n/, $log;
ok(@lines >= 4, 'the log tells of them') or diag($log);
is(scalar(grep { /4111|Jane/ } @lines), 0, 'without the key or the customer')
  or diag(join "\n", @lines);
my $hash = $node->safe_psql('postgres',
	q{SELECT order_guard._key_hash('cards', '4111-0001')});
like($log, qr/opened \(stalled, warning\): about order $hash of public\.cards/,
	'but the hash, by which one finds it who may');
like($log, qr/order 5222-0001 of public\.plain/, 'another watch says it all');
my $payloads = heard();
unlike($payloads, qr/4111|Jane/, 'so it is with NOTIFY');
like($payloads, qr/"event":"resolved"[^}]*"key":"$hash"/,
	'also when a person has acted');
like($payloads, qr/"key":"5222-0001"/, 'of another watch it has the key');
is( $node->safe_psql('postgres', q{SELECT DISTINCT key
		FROM order_guard.incidents WHERE key LIKE '4111%' ORDER BY 1}),
	"4111-0001\n4111-0002\n4111-0003",
	'whoever may SELECT the table sees the keys');

# forging
$position = -s $node->logfile;
my $table = qq{"x\nLOG:  forged 1"};
my $status = q(E'PAYING\nLOG:  forged 2');
my $key = q(E'k"},{"event":"forged",\nLOG:  forged 3');
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE $table (id text PRIMARY KEY, status text, token text);
	CREATE INDEX ON $table (token);
	SELECT order_guard.watch('$table', 'status',
		jsonb_build_object($status, '1 us'), token => 'token')});
scan($node);
$node->safe_psql('postgres', qq{INSERT INTO $table
	VALUES ($key, $status, E't\\nLOG:  forged 4')});
$node->psql('postgres', qq{BEGIN;
	UPDATE $table SET status = E'b\\nLOG:  forged 5'; SELECT 1/0; COMMIT});
ok( scan_until($node, q{SELECT count(*) >= 2
	FROM order_guard.incident WHERE relation_name ~ 'forged'}),
	'orders with such names are reported');
@lines = split /\n/, slurp_file($node->logfile, $position);
is(scalar(grep { /^(LOG|\S+ forged)/ } @lines),
	0, 'no line of the log begins as its author would like');
is( scalar(
		grep { /order_guard: incident/ && /[\x00-\x08\x0b-\x1f\x7f]/ } @lines),
	0, 'nor steers a terminal');
is(scalar(grep { /order_guard: incident/ && /forged 1/ } @lines) >= 2,
	1, 'each incident is one line');
$payloads = heard();
for my $payload ($payloads =~ /payload "(.*?)" received from/sg)
{
	unlike($payload, qr/[\x00-\x1f]/, 'a payload is one line');
	is( $node->safe_psql('postgres',
			'SELECT $x$' . $payload . '$x$::jsonb ->> $x$event$x$ '
			  . 'IN ($x$opened$x$, $x$cleared$x$, $x$resolved$x$)'),
		't', 'and says what it should');
}
done_testing();
