"""psycopg_client.py NAME SEED LOG: as client.c, with psycopg2."""
import os
import random
import signal
import sys
import time

import psycopg2

name, seed, path = sys.argv[1:]
chance = random.Random(int(seed))
log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
going = True


def stop(*unused):
    global going
    going = False


def note(token, event, detail=""):
    os.write(log, f"{time.time():.6f} {token} {event} {detail}\n".encode())


def insert(cursor, token):
    note(token, "S")
    try:
        cursor.execute(
            "INSERT INTO orders (token, status, amount, account)"
            " VALUES (%s, 'SUBMITTED', %s, %s)",
            (token, chance.randint(-1, 20), chance.randint(1, 4)))
    except psycopg2.Error as error:
        if error.pgcode:
            note(token, "E", error.pgcode)
        raise
    note(token, "I")


def place(connection, token):
    sent = False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            sent = True
            insert(cursor, token)
        time.sleep(chance.random() * 0.03)
        if chance.random() < 0.2:
            connection.rollback()
            note(token, "R")
        else:
            note(token, "c")
            connection.commit()
            note(token, "C")
    except psycopg2.Error:
        try:
            connection.rollback()
            if sent:
                note(token, "R")
        except psycopg2.Error:
            if sent:
                note(token, "X")


def main():
    connection = None
    orders = 0
    signal.signal(signal.SIGTERM, stop)
    while going:
        try:
            if connection is None or connection.closed:
                connection = psycopg2.connect(application_name=name,
                                              connect_timeout=10)
            orders += 1
            place(connection, f"{name}-{orders}")
        except psycopg2.Error:
            time.sleep(0.1)
        time.sleep(chance.random() * 0.02)


main()
