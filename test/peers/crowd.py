#!/usr/bin/env python3
"""200 clients on 10 backends, through pgbouncer in transaction mode.

Usage: crowd.py POOLED DIRECT (two connection strings)

Eight clients keep a transaction open, half of them with a setting of their
own by SET LOCAL.  The others place orders through the two backends that are
left: commit, roll back, are refused, fail, or go away in the middle.  Then
what order_guard says is compared, token by token, with what was done.  Prints
what is wrong and exits 1, or nothing.
"""
import sys
import threading
import time

import psycopg2

CLIENTS = 200
BACKENDS = 10
HOLDERS = 8
ROUNDS = 5
FATES = ("commit", "rollback", "refused", "error", "leave")

# What is to be known of each fate: outcome, SQLSTATE.
TRUTH = {
    "commit": ("committed", None),
    "rollback": ("rolled_back", None),
    "refused": ("rolled_back", "23514"),
    "error": ("rolled_back", "22012"),
    "leave": ("rolled_back", None),
}

INSERT = "INSERT INTO orders (token, amount) VALUES (%s, %s)"

pooled, direct = sys.argv[1:]
problems = []
done = {}                                       # token: fate
pids = {}                                       # token: backend, of holders
lock = threading.Lock()
all_connected = threading.Barrier(CLIENTS)
all_held = threading.Barrier(CLIENTS)
crowd_is_over = threading.Barrier(CLIENTS + 1)
release = threading.Event()


def place(connection, token, fate):
    """One order; returns the connection for the next one."""
    cursor = connection.cursor()
    try:
        cursor.execute(INSERT, (token, -1 if fate == "refused" else 1))
        if fate == "error":
            cursor.execute("SELECT amount / 0 FROM orders WHERE token = %s",
                           (token,))
    except psycopg2.Error as error:
        if error.pgcode != TRUTH[fate][1]:
            raise
    if fate == "leave":
        connection.close()
        return psycopg2.connect(pooled)
    if fate == "commit":
        connection.commit()
    else:
        connection.rollback()
    return connection


def hold(connection, number):
    token = f"hold-{number}"
    cursor = connection.cursor()
    if number % 2 == 0:
        cursor.execute("SET LOCAL order_guard.open_threshold = '10ms'")
    cursor.execute(INSERT + " RETURNING pg_backend_pid()", (token, 1))
    with lock:
        pids[token] = cursor.fetchone()[0]
        done[token] = "commit" if number < HOLDERS / 2 else "rollback"
    all_held.wait()
    crowd_is_over.wait()
    release.wait()
    if done[token] == "commit":
        connection.commit()
    else:
        connection.rollback()


def shop(connection, number):
    all_held.wait()
    for turn in range(ROUNDS):
        token = f"crowd-{number}-{turn}"
        fate = FATES[(number + turn) % len(FATES)]
        connection = place(connection, token, fate)
        with lock:
            done[token] = fate
    crowd_is_over.wait()
    connection.close()


def client(number):
    try:
        connection = psycopg2.connect(pooled)
        all_connected.wait()
        (hold if number < HOLDERS else shop)(connection, number)
    except Exception as error:                  # of a thread: nobody sees it
        problems.append(f"client {number}: {error!r}")
        for barrier in all_connected, all_held, crowd_is_over:
            barrier.abort()


def until_gone(cursor, what, most):
    """Backends notice a little later that their client has left."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        cursor.execute("SELECT count(*) FROM " + what)
        if cursor.fetchone()[0] <= most:
            return
        time.sleep(0.05)
    problems.append(f"more than {most}: {what}")


def compare(what, found, expected):
    for item in sorted(set(found) ^ set(expected), key=str)[:10]:
        problems.append(f"{what}: {item} "
                        + ("is not there" if item in expected else "is wrong"))


def look(cursor):
    """While eight are held, and the rest is over."""
    until_gone(cursor, "pg_stat_activity WHERE usename = 'shop'", BACKENDS)
    until_gone(cursor, "order_guard.in_flight", HOLDERS)
    cursor.execute("SELECT token, pid FROM order_guard.in_flight"
                   " WHERE part = 'holds'")
    compare("in_flight", cursor.fetchall(), pids.items())
    if len(set(pids.values())) != HOLDERS:
        problems.append(f"backends of holders: {pids}")
    cursor.execute("SELECT count(*) FROM order_guard.scan()")
    cursor.execute("SELECT (evidence->>'pid')::integer"
                   " FROM order_guard.incidents"
                   " WHERE kind = 'uncommitted' AND state = 'open'")
    compare("uncommitted", [pid for pid, in cursor.fetchall()],
            [pids[f"hold-{n}"] for n in range(0, HOLDERS, 2)])


def judge(cursor):
    """When all is over."""
    until_gone(cursor, "order_guard.in_flight", 0)
    cursor.execute("SELECT count(*) FROM order_guard.scan()")
    cursor.execute("SELECT token FROM order_guard.in_flight")
    compare("still in flight", [token for token, in cursor.fetchall()], [])
    cursor.execute("SELECT token FROM orders")
    compare("table", [token for token, in cursor.fetchall()],
            [token for token, fate in done.items() if fate == "commit"])
    cursor.execute("SELECT t, o.outcome, o.sqlstate FROM unnest(%s) t,"
                   " order_guard.outcome(t) o", (list(done),))
    compare("outcome", cursor.fetchall(),
            [(token, *TRUTH[fate]) for token, fate in done.items()])
    cursor.execute("SELECT token, outcome, sqlstate, count(*)"
                   " FROM order_guard.attempts GROUP BY 1, 2, 3")
    compare("attempts", cursor.fetchall(),
            [(token, *TRUTH[fate], 1) for token, fate in done.items()
             if fate != "commit"])


def main():
    connection = psycopg2.connect(direct)
    connection.autocommit = True
    cursor = connection.cursor()
    threads = [threading.Thread(target=client, args=(number,), daemon=True)
               for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        crowd_is_over.wait(120)
        look(cursor)
    except threading.BrokenBarrierError:
        problems.append("the clients have not come to an end")
    release.set()
    for thread in threads:
        thread.join(30)
    if not problems:
        judge(cursor)
    print("\n".join(problems[:20]), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


main()
