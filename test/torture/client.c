/*
 * client.c
 *		A client that places orders in many ways and notes what it sent and
 *		what it heard.
 *
 *	client NAME SEED LOG
 *
 * A line of the log is "TIME TOKEN EVENT [DETAIL]", written at once:
 *
 *	S  an INSERT goes out          I  it was acknowledged
 *	a  with synchronous_commit off E  it was refused, with SQLSTATE
 *	c  a COMMIT goes out           C  it was acknowledged
 *	P  prepared, and left so       R  rolled back, says the server
 *	X  the connection broke before an answer, or was cut
 *
 * Ends at SIGTERM, after the order it is at.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define ACCOUNTS 4

typedef enum Answer
{
	OK,
	REFUSED,					/* an error; the connection lives */
	LOST						/* no answer */
} Answer;

static const char *name;
static int	log_fd;
static uint64_t random_state;
static PGconn *conn = NULL;
static char token[64];
static char sqlstate[6];
static int	orders = 0;
static volatile sig_atomic_t told_to_end = 0;

static void
on_term(int signal)
{
	told_to_end = 1;
}

static uint32_t
random_below(uint32_t n)
{
	random_state = random_state * 6364136223846793005ULL +
		1442695040888963407ULL;
	return (uint32_t) (random_state >> 33) % n;
}

static void
doze(uint32_t most_ms)
{
	usleep(random_below(most_ms + 1) * 1000);
}

/* In one write(), so that a kill leaves no half line. */
static void
note(char event, const char *detail)
{
	char		line[160];
	struct timeval now;
	int			n;

	gettimeofday(&now, NULL);
	n = snprintf(line, sizeof(line), "%ld.%06ld %s %c %s\n",
				 (long) now.tv_sec, (long) now.tv_usec, token, event, detail);
	if (write(log_fd, line, n) != n)
		exit(2);
}

static void
drop_connection(void)
{
	if (conn)
		PQfinish(conn);
	conn = NULL;
}

static void
ignore_notice(void *arg, const char *message)
{
}

static bool
connected(void)
{
	char		info[100];

	if (conn && PQstatus(conn) == CONNECTION_OK)
		return true;
	drop_connection();
	snprintf(info, sizeof(info), "connect_timeout=10 application_name=%s",
			 name);
	conn = PQconnectdb(info);
	PQsetNoticeProcessor(conn, ignore_notice, NULL);
	if (PQstatus(conn) == CONNECTION_OK)
		return true;
	drop_connection();
	doze(100);
	return false;
}

static Answer
run(const char *sql)
{
	PGresult   *result;
	const char *state;
	Answer		answer = OK;
	ExecStatusType status;

	if (conn == NULL)
		return LOST;
	result = PQexec(conn, sql);
	status = PQresultStatus(result);
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	snprintf(sqlstate, sizeof(sqlstate), "%s", state ? state : "");
	if (PQstatus(conn) != CONNECTION_OK)
		answer = LOST;
	else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		answer = REFUSED;
	else if (strcmp(PQcmdStatus(result), "ROLLBACK") == 0)
		answer = REFUSED;		/* also to a COMMIT */
	PQclear(result);
	return answer;
}

/* A statement with numbers in it. */
static Answer
run_with(const char *format, int a, int b)
{
	char		sql[300];

	snprintf(sql, sizeof(sql), format, a, b);
	return run(sql);
}

static void
new_token(void)
{
	snprintf(token, sizeof(token), "%s-%d", name, ++orders);
}

static const char *
insert_text(int amount, int account, int id)
{
	static char sql[300];
	char		number[20] = "DEFAULT";

	if (id)
		snprintf(number, sizeof(number), "%d", id);
	snprintf(sql, sizeof(sql),
			 "INSERT INTO orders (id, token, status, amount, account) "
			 "VALUES (%s, '%s', 'SUBMITTED', %d, %d)",
			 number, token, amount, account);
	return sql;
}

/* Places an order; notes its refusal, or that nothing was heard. */
static Answer
insert(int amount, int account, int id)
{
	Answer		answer;

	new_token();
	note('S', "");
	answer = run(insert_text(amount, account, id));
	if (answer == OK)
		note('I', "");
	else if (sqlstate[0])
		note('E', sqlstate);
	if (answer == LOST)
		note('X', "");
	return answer;
}

/* Ends the transaction and notes how. */
static void
finish(const char *sql, char done)
{
	Answer		answer;

	note('c', "");
	answer = run(sql);
	if (answer == OK)
		note(done, "");
	else if (answer == REFUSED)
		note('R', sqlstate);
	else
		note('X', "");
}

static void
commit(void)
{
	finish("COMMIT", 'C');
}

static void
rollback(void)
{
	note(run("ROLLBACK") == LOST ? 'X' : 'R', "");
}

/* After something failed or not: COMMIT, or ROLLBACK as a careful client. */
static void
end_after(Answer answer)
{
	if (answer == LOST)
		note('X', "");
	else if (answer == OK || random_below(2) == 0)
		commit();
	else
		rollback();
}

/* Nobody says goodbye, nobody reads what comes. */
static void
cut(void)
{
	PQflush(conn);
	usleep(random_below(2000));
	shutdown(PQsocket(conn), SHUT_RDWR);
	drop_connection();
	note('X', "cut");
}

static int
account(void)
{
	return 1 + random_below(ACCOUNTS);
}

static bool
begun(const char *sql)
{
	return run(sql) == OK;
}

/* ------------------------------------------------------------------------
 * Ways to place an order
 * ------------------------------------------------------------------------
 */

static void
place_plain(void)
{
	if (insert(random_below(100), account(), 0) == OK)
		note('C', "");
}

static void
place_in_block(void)
{
	char		sql[200];

	if (!begun("BEGIN") || insert(random_below(100), account(), 0) != OK)
		return;
	doze(30);
	snprintf(sql, sizeof(sql), "UPDATE orders SET status = 'PAYING' "
			 "WHERE token = '%s'", token);
	end_after(run(sql));
}

static void
place_and_roll_back(void)
{
	if (begun("BEGIN") && insert(1, account(), 0) == OK)
		rollback();
}

static void
place_duplicate(void)
{
	insert(1, account(), 1);
}

static void
place_negative(void)
{
	insert(-1, account(), 0);
}

/* The account does not exist: found out at COMMIT. */
static void
place_deferred(void)
{
	if (begun("BEGIN") && insert(1, 999, 0) == OK)
		commit();
}

static void
place_until_timeout(void)
{
	if (begun("BEGIN; SET LOCAL statement_timeout = 30") &&
		insert(1, account(), 0) == OK)
		end_after(run("SELECT pg_sleep(1)"));
}

static void
place_with_lock(void)
{
	if (!begun("BEGIN; SET LOCAL lock_timeout = 20") ||
		insert(1, account(), 0) != OK)
		return;
	end_after(run_with("UPDATE account SET balance = balance + %d "
					   "WHERE id = %d", 1, account()));
}

static void
place_with_two_locks(void)
{
	Answer		answer;

	if (!begun("BEGIN") || insert(1, account(), 0) != OK)
		return;
	answer = run_with("UPDATE account SET balance = balance + %d "
					  "WHERE id = %d", 1, account());
	doze(20);
	if (answer == OK)
		answer = run_with("UPDATE account SET balance = balance - %d "
						  "WHERE id = %d", 1, account());
	end_after(answer);
}

static void
place_serializable(void)
{
	Answer		answer;

	if (!begun("BEGIN ISOLATION LEVEL SERIALIZABLE; "
			   "SELECT sum(balance) FROM account") ||
		insert(1, account(), 0) != OK)
		return;
	doze(10);
	answer = run_with("UPDATE account SET balance = balance + %d "
					  "WHERE id = %d", 1, account());
	end_after(answer);
}

static void
place_and_idle(void)
{
	if (!begun("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 20")
		|| insert(1, account(), 0) != OK)
		return;
	usleep(60000);
	commit();
}

static void
place_and_cut_commit(void)
{
	if (!begun("BEGIN") || insert(1, account(), 0) != OK)
		return;
	note('c', "");
	PQsendQuery(conn, "COMMIT");
	cut();
}

static void
place_and_cut_insert(void)
{
	new_token();
	note('S', "");
	PQsendQuery(conn, insert_text(1, account(), 0));
	cut();
}

static void
place_and_leave(void)
{
	if (!begun("BEGIN") || insert(1, account(), 0) != OK)
		return;
	drop_connection();
	note('X', "left");
}

static void
place_prepared(void)
{
	char		sql[100];
	uint32_t	how = random_below(3);

	if (!begun("BEGIN") || insert(1, account(), 0) != OK)
		return;
	snprintf(sql, sizeof(sql), "PREPARE TRANSACTION '%s'", token);
	finish(sql, 'P');
	if (conn == NULL || how == 0)
		return;
	snprintf(sql, sizeof(sql), "%s PREPARED '%s'",
			 how == 1 ? "COMMIT" : "ROLLBACK", token);
	if (run(sql) == OK)
		note(how == 1 ? 'C' : 'R', "");
}

static void
place_behind_savepoint(void)
{
	if (!begun("BEGIN; SAVEPOINT a") || insert(1, account(), 0) != OK)
		return;
	if (run("ROLLBACK TO a") == LOST)
	{
		note('X', "");
		return;
	}
	note('R', "");
	if (insert(1, account(), 0) == OK)
		commit();
}

static void
place_asynchronously(void)
{
	if (!begun("BEGIN; SET LOCAL synchronous_commit = off") ||
		insert(1, account(), 0) != OK)
		return;
	note('a', "");
	commit();
}

/* The COMMIT of a failed transaction is answered with ROLLBACK. */
static void
place_and_fail(void)
{
	if (!begun("BEGIN") || insert(1, account(), 0) != OK)
		return;
	run("SELECT 1 / 0");
	commit();
}

static const struct
{
	int			weight;
	void		(*place) (void);
}			ways[] =
{
	{25, place_plain},
	{25, place_in_block},
	{5, place_and_roll_back},
	{4, place_duplicate},
	{3, place_negative},
	{3, place_deferred},
	{3, place_until_timeout},
	{3, place_with_lock},
	{5, place_with_two_locks},
	{4, place_serializable},
	{2, place_and_idle},
	{6, place_and_cut_commit},
	{2, place_and_cut_insert},
	{2, place_and_leave},
	{4, place_prepared},
	{3, place_behind_savepoint},
	{4, place_asynchronously},
	{3, place_and_fail}
};

static void
place_order(void)
{
	int			total = 0;
	int			pick;
	size_t		i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		total += ways[i].weight;
	pick = random_below(total);
	for (i = 0; pick >= ways[i].weight; i++)
		pick -= ways[i].weight;
	ways[i].place();
	/* Whatever was left open by a refused INSERT. */
	if (conn && PQtransactionStatus(conn) != PQTRANS_IDLE &&
		run("ROLLBACK") == LOST)
		drop_connection();
}

int
main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	name = argv[1];
	random_state = strtoull(argv[2], NULL, 10);
	log_fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log_fd < 0)
		return 2;
	signal(SIGTERM, on_term);
	signal(SIGPIPE, SIG_IGN);
	while (!told_to_end)
	{
		if (connected())
			place_order();
		doze(20);
	}
	drop_connection();
	return 0;
}
