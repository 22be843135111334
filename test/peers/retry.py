#!/usr/bin/env python3
"""Places orders, each exactly once, whatever happens to the connection.

Usage: retry.py TOKEN=AMOUNT...

The connection is given by libpq's variables (PGHOST ...), the time for one
order in seconds by PATIENCE.  Prints one line for each order.
"""
import os
import select
import sys
import time

import psycopg2
import psycopg2.extensions as pg

PATIENCE = float(os.environ.get("PATIENCE", "30"))
SILENCE = float(os.environ.get("SILENCE", "10"))


class NoAnswer(psycopg2.OperationalError):
    """The server has been silent for too long."""


def wait_for_server(connection):
    """Without it psycopg2 would wait for a silent server for ever."""
    until = time.monotonic() + SILENCE
    while (state := connection.poll()) != pg.POLL_OK:
        left = until - time.monotonic()
        ready = select.select(
            [connection] if state == pg.POLL_READ else [],
            [connection] if state == pg.POLL_WRITE else [],
            [], max(left, 0))
        if left <= 0 and not any(ready):
            raise NoAnswer("no answer from the server")


pg.set_wait_callback(wait_for_server)


# --- the loop ---

class Refused(Exception):
    """The server says no, and will say so again."""


class NotPlaced(Exception):
    """It was not placed and never will be: settle() has seen to that."""


class StillUnknown(Exception):
    """Nobody can say yet: ask again later, and tell the customer so."""


# Classes of SQLSTATE after which the same statements may well succeed.
TRANSIENT = ("08", "25", "40", "53", "55", "57", "58")

OUTCOME = "SELECT outcome, key FROM order_guard.outcome(%s)"
SETTLE = "SELECT outcome, key FROM settle_order(%s)"


def run(work):
    """One short transaction on a connection of its own, or of a pool."""
    connection = psycopg2.connect(connect_timeout=5)
    try:
        with connection:                    # COMMIT, or ROLLBACK if it raises
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '5s'")
                return work(cursor)
    finally:
        connection.close()


def send(order):
    def insert(cursor):
        cursor.execute(
            "INSERT INTO orders (token, amount) VALUES (%s, %s)"
            " RETURNING id::text", (order["token"], order["amount"]))
        return cursor.fetchone()[0]
    return run(insert)


def ask(question, token):
    def query(cursor):
        cursor.execute(question, (token,))
        return cursor.fetchone()
    return run(query)


def is_final(error):
    """Has the server refused it for a reason that will not go away?"""
    return bool(error.pgcode) and error.pgcode[:2] not in TRANSIENT


def place(order):
    """Returns the key of the order, which then exists exactly once."""
    until = time.monotonic() + PATIENCE
    pause = 0.05
    outcome = "rolled_back"
    failure = None
    while time.monotonic() < until:
        try:
            # unknown: sent again, too; the token is unique in the table, so
            # the worst that can happen is that this one is refused
            if outcome in ("rolled_back", "unknown"):
                failure = None
                return send(order)
        except psycopg2.Error as error:     # no answer, or a bad one
            failure = error
        try:
            outcome, key = ask(OUTCOME, order["token"])
            if outcome == "committed":
                return key
            if outcome == "settled":
                raise NotPlaced(order["token"])
            if failure and is_final(failure):
                if outcome == "rolled_back":
                    raise Refused(failure.pgcode)
                if outcome == "unknown":
                    break
        except psycopg2.Error:              # an error is not an answer
            outcome = "in_flight"
        time.sleep(pause)                   # in_flight, prepared: wait
        pause = min(pause * 2, 1)
    return give_up(order)


def give_up(order):
    """The customer has waited long enough: have it decided now."""
    try:
        outcome, key = ask(SETTLE, order["token"])
    except psycopg2.Error as error:
        raise StillUnknown(order["token"]) from error
    if outcome == "committed":
        return key
    if outcome == "settled":
        raise NotPlaced(order["token"])
    raise StillUnknown(order["token"])

# --- end of the loop ---


def main():
    for argument in sys.argv[1:]:
        token, amount = argument.rsplit("=", 1)
        try:
            answer = "placed " + place({"token": token, "amount": amount})
        except Refused as error:
            answer = f"refused {error}"
        except NotPlaced:
            answer = "not placed"
        except StillUnknown:
            answer = "unknown"
        print(token, answer, flush=True)


if __name__ == "__main__":
    main()
