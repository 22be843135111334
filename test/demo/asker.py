#!/usr/bin/env python3
"""Asks a payment gateway about stuck payments, for order_guard.

Usage: asker.py DATABASE GATEWAY TABLE     (a connection string, a URL)

Runs until it is ended, by whatever means: what it has claimed is handed out
again when its lease is over.  Any number of them may run.  It needs a role that
may SELECT and UPDATE the table, and should have no other rights.  LEASE and TIMEOUT
(seconds) and BATCH are read from the environment; a lease should be longer
than BATCH questions may take, but nothing breaks if it is not.

The one rule: whatever goes wrong while asking is "unknown".  Only the gateway
can say that a payment failed, in so many words, and about this payment.
"""
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import psycopg2

LEASE = os.environ.get("LEASE", "60")
TIMEOUT = float(os.environ.get("TIMEOUT", "5"))
BATCH = int(os.environ.get("BATCH", "5"))
VERDICTS = {"captured": "succeeded", "declined": "failed",
            "pending": "pending"}

database, gateway, table = sys.argv[1:]


class OutOfTime(Exception):
    pass


def out_of_time(*_):
    raise OutOfTime(f"no answer within {TIMEOUT} s")


# --- the loop ---

def ask(token):
    """The gateway's verdict on a payment, and what it is based on."""
    # a time limit for all of it: that of a socket begins anew with each byte
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    try:
        url = f"{gateway}/payments/{urllib.parse.quote(token, safe='')}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            said = json.loads(response.read(65536))
        if said["reference"] != token:
            return "unknown", {"error": "an answer about something else"}
        return VERDICTS.get(said["state"], "unknown"), {"said": said}
    except urllib.error.HTTPError as error:
        return "unknown", {"http": error.code}  # 404 too: it may be on its way
    except Exception as error:
        return "unknown", {"error": f"{type(error).__name__}: {error}"[:200]}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def work(database):
    """Claims, asks, answers; True if there was anything to do."""
    incidents = database("SELECT incident, token, lease FROM order_guard."
                         "claim(%s, make_interval(secs => %s), NULL, %s)",
                         (BATCH, LEASE, table))
    for incident, token, lease in incidents:
        verdict, evidence = ask(token)
        database("SELECT * FROM order_guard.answer(%s, %s, %s, %s)",
                 (incident, verdict, json.dumps(evidence), lease))
    return bool(incidents)

# --- end ---


class Database:
    """Statements, each in a transaction of its own.

    After an error of the connection it is done again: a claim that was made
    twice is a lease that runs out, an answer that is given twice counts once.
    """

    def __init__(self, dsn):
        self.dsn = dsn
        self.connection = None

    def connect(self):
        if self.connection is None or self.connection.closed:
            self.connection = psycopg2.connect(
                self.dsn, connect_timeout=5, application_name="asker",
                options="-c statement_timeout=10s")
            self.connection.autocommit = True
        return self.connection.cursor()

    def __call__(self, sql, arguments):
        pause = 0.1
        while True:
            try:
                cursor = self.connect()
                cursor.execute(sql, arguments)
                return cursor.fetchall()
            except (psycopg2.OperationalError,
                    psycopg2.InterfaceError) as error:
                print(f"asker: {error}", file=sys.stderr)
                if self.connection is not None:
                    self.connection.close()
            time.sleep(pause)
            pause = min(pause * 2, 10)


def main():
    signal.signal(signal.SIGALRM, out_of_time)
    connection = Database(database)
    while True:
        try:
            if not work(connection):
                time.sleep(float(os.environ.get("PAUSE", "1")))
        except psycopg2.Error as error:         # of one answer
            print(f"asker: {error}", file=sys.stderr)
            time.sleep(0.1)


if __name__ == "__main__":
    main()
