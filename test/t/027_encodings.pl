# Databases that are not UTF-8: keys, statuses and reasons with odd bytes.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('encodings');
$node->init;
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'order_guard'
order_guard.vanish_grace = '0'
});
$node->start;

foreach my $encoding (qw(LATIN1 SQL_ASCII EUC_JP))
{
	my $db = lc "db_$encoding";
	my $odd =
	  $encoding eq 'EUC_JP' ? '\244\242\244\244' : '\344\366\200\377';
	$node->safe_psql('postgres', qq{CREATE DATABASE $db
		ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0});
	my $sql = sub { return $node->safe_psql($db, $_[0]); };

	# What the worker writes must be right byte for byte: compare as bytea.
	my $text = qq{convert_from(decode('$odd', 'escape'), '$encoding')};
	$sql->('CREATE EXTENSION order_guard');
	$sql->(q{CREATE TABLE orders (a text, b text, status text, t text UNIQUE,
		PRIMARY KEY (a, b))});
	$sql->(qq{SELECT order_guard.watch('orders', 'status',
		jsonb_build_object($text, '1 us'), token => 't', customer => 'b')});
	$sql->('SELECT count(*) FROM order_guard.scan()');
	$sql->(qq{INSERT INTO orders VALUES ($text, repeat($text, 20) || '"\\',
		$text, $text)});
	$sql->(qq{BEGIN; INSERT INTO orders VALUES (repeat($text, 200), 'lost',
		$text, 'x' || $text); ROLLBACK});
	$sql->(qq{BEGIN; INSERT INTO orders VALUES ('lost', $text, $text,
		'y' || $text); ROLLBACK});
	$sql->('SELECT count(*) FROM order_guard.scan()') for 1 .. 2;
	is( $sql->(qq{SELECT count(*) FROM order_guard.incidents i, orders o
			WHERE i.kind = 'stalled' AND i.key = ROW(o.a, o.b)::text
			AND i.status = $text AND i.customer = o.b}),
		1, "$encoding: stalled");
	is( $sql->(qq{SELECT string_agg((key = ROW('lost', $text)::text)::text,
			',') FROM order_guard.incidents
			WHERE kind = 'vanished' AND key IS NOT NULL}),
		'true', "$encoding: vanished");
	is( $sql->('SELECT errors FROM order_guard.stat_worker'),
		0, "$encoding: no error");
}
$node->stop('fast');
done_testing();
