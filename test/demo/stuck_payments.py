#!/usr/bin/env python3
"""300 payments are stuck; only a bad gateway knows what became of them.

Usage: stuck_payments.py DATABASE    (a superuser's connection string)

On a server that preloads order_guard, in a database with the extension, with
a short naptime and storms off.  Several askers ask the gateway in parallel
and are killed (kill -9) in the middle; the gateway is killed, too; some
payments move on by themselves meanwhile, as late callbacks arrive.  In the end
each payment has to be what the gateway says, none may have been moved twice,
none guessed: those of which the gateway never tells are still PAYING, and a
person is asked.  Prints counts; what is wrong, and exit status 1.
"""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import psycopg2

PAYMENTS = 300
SILENT = 12                                     # the gateway never tells
CALLBACKS = 60                                  # move on by themselves
ASKERS = 5
KILLS = 12
PATIENCE = 60                                   # seconds
ENVIRONMENT = {"LEASE": "1", "TIMEOUT": "0.4", "BATCH": "5", "PAUSE": "0.1"}

SCHEMA = """
CREATE ROLE payments_owner;
CREATE ROLE payments_asker LOGIN;
CREATE TABLE payments (
    id integer PRIMARY KEY,
    reference text NOT NULL UNIQUE,
    status text NOT NULL CHECK (status IN ('PAYING', 'PAID', 'FAILED')));
CREATE TABLE transitions (payment integer, old text, new text,
    who text DEFAULT current_setting('application_name'));
CREATE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO transitions VALUES (new.id, old.status, new.status);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE OF status ON payments
    FOR EACH ROW EXECUTE FUNCTION note_transition();
ALTER TABLE payments OWNER TO payments_owner;
GRANT SELECT, UPDATE (status) ON payments TO payments_asker;
SELECT order_guard.watch('payments', 'status', '{"PAYING": "1 s"}',
    terminal => '{PAID,FAILED}', token => 'reference', options => '{
    "verdicts": {"succeeded": "PAID", "failed": "FAILED"},
    "ask": ["100 ms", "200 ms", "200 ms", "300 ms", "300 ms", "400 ms",
        "400 ms", "500 ms"]}');
"""
STATUS = {"captured": "PAID", "declined": "FAILED"}
FAULTS = ["500", "404", "garbage", "cut", "other", "reset", "idle", "drip",
          "pending"]

here = pathlib.Path(__file__).parent
dsn = sys.argv[1]
dice = random.Random(4)


def connect(name):
    connection = psycopg2.connect(dsn, application_name=name)
    connection.autocommit = True
    return connection.cursor()


def query(sql, *arguments):
    boss.execute(sql, arguments)
    return boss.fetchall()


def wait_for(what, sql):
    """Whether it came to that; else what is wrong will be told."""
    end = time.monotonic() + PATIENCE
    while not query(sql)[0][0]:
        if time.monotonic() > end:
            problems.append(f"waited in vain until {what}")
            return
        time.sleep(0.1)


def plan():
    """What the gateway says about each payment, question by question."""
    moods = {}
    for number in range(1, PAYMENTS + 1):
        faults = dice.sample(FAULTS, dice.choice((0, 0, 1, 1, 2)))
        truth = dice.choice(("captured", "captured", "declined"))
        late = dice.choice(("", "", "late "))
        moods[f"web-{number}"] = faults + [late + truth]
    for number in range(1, SILENT + 1):
        moods[f"web-{number}"] = dice.sample(FAULTS, len(FAULTS))
    return moods


class Gateway:
    def __init__(self, folder, moods):
        self.file = os.path.join(folder, "moods.json")
        with open(self.file, "w", encoding="utf-8") as file:
            json.dump(moods, file)
        self.port = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, here / "gateway.py", str(self.port), self.file],
            stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"

    def counts(self):
        with urllib.request.urlopen(self.url + "/counts", timeout=10) as reply:
            return json.load(reply)


def start_asker():
    return subprocess.Popen(
        [sys.executable, here / "asker.py", dsn + " user=payments_asker",
         gateway.url, "payments"], env=os.environ | ENVIRONMENT)


def kill_some():
    """kill -9, of askers in the middle, and of the gateway, once."""
    for turn in range(KILLS):
        time.sleep(dice.uniform(0.2, 0.5))
        victim = dice.randrange(ASKERS)
        askers[victim].kill()
        askers[victim].wait()
        askers[victim] = start_asker()
        if turn == KILLS // 2:
            gateway.process.kill()
            gateway.process.wait()
            time.sleep(0.3)
            gateway.start()


def call_back(references):
    """Late callbacks: the shop moves its payments itself."""
    cursor = connect("callback")
    for reference in references:
        time.sleep(dice.uniform(0.01, 0.08))
        cursor.execute("UPDATE payments SET status = %s WHERE reference = %s "
                       "AND status = 'PAYING'",
                       (truth[reference], reference))


def run():
    # A killed asker may not have heard of its commit: "unacknowledged" says so.
    threads = [threading.Thread(target=kill_some),
               threading.Thread(target=call_back, args=(late,))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for("every question is decided", f"""SELECT count(*) = {SILENT}
        AND bool_and(ask_person IS NOT NULL) FROM order_guard.incidents
        WHERE relation = 'payments'::regclass AND state = 'open'
            AND kind IN ('stalled', 'contradiction')""")


def judge():
    for reference, status, moves, critical in query("""
            SELECT p.reference, p.status,
                (SELECT count(*) FROM transitions t WHERE t.payment = p.id),
                (SELECT count(*) FROM order_guard.incidents i
                    WHERE i.relation = 'payments'::regclass
                        AND i.key = p.id::text AND i.state = 'open'
                        AND i.severity = 'critical'
                        AND i.ask_person IS NOT NULL)
            FROM payments p ORDER BY p.id"""):
        known = truth[reference]
        expected = (known, 1, 0) if known else ("PAYING", 0, 1)
        if (status, moves, critical) != expected:
            problems.append(f"{reference} is {status}, moved {moves} times, "
                            f"{critical} persons asked; not {expected}")


def tell_counts(seconds):
    (by_askers, by_callbacks), = query("""
        SELECT count(*) FILTER (WHERE who = 'asker'),
            count(*) FILTER (WHERE who = 'callback') FROM transitions""")
    answers = dict(query("""SELECT args ->> 'verdict' || ' ' || result,
        count(*) FROM order_guard.actions WHERE action = 'answer'
        AND incident IN (SELECT id FROM order_guard.incidents
            WHERE relation = 'payments'::regclass) GROUP BY 1 ORDER BY 1"""))
    (asked, lost), = query("""SELECT sum(asks), sum(asks) - (
            SELECT count(DISTINCT args ->> 'lease') FROM order_guard.actions
            WHERE action = 'answer') FROM order_guard.incidents
        WHERE relation = 'payments'::regclass""")
    print(f"{ASKERS} askers, killed {KILLS} times, claimed {asked} times; "
          f"{lost} leases ran out with whoever had them")
    print("answers:", ", ".join(f"{n} {what}" for what, n in answers.items()))
    print("the gateway since it was killed:", gateway.counts())
    print(f"{PAYMENTS} stuck payments in {seconds:.0f} s: {by_askers} moved "
          f"as the gateway says, {by_callbacks} by themselves, {SILENT} wait "
          "for a person; none wrong, none moved twice, none guessed")


boss = connect("demo")
boss.execute(SCHEMA)
moods = plan()
truth = {reference: STATUS.get(planned[-1].removeprefix("late "))
         for reference, planned in moods.items()}
late = dice.sample([r for r in moods if truth[r]], CALLBACKS)
askers = []
problems = []
with tempfile.TemporaryDirectory() as folder:
    gateway = Gateway(folder, moods)
    try:
        query("INSERT INTO payments SELECT n, 'web-' || n, 'PAYING' "
              "FROM generate_series(1, %s) n RETURNING 1", PAYMENTS)
        wait_for("all of them are found", f"""SELECT count(*) = {PAYMENTS}
            FROM order_guard.incidents WHERE state = 'open'
            AND relation = 'payments'::regclass AND kind = 'stalled'""")
        begin = time.monotonic()
        askers += [start_asker() for _ in range(ASKERS)]
        run()
        judge()
        if not problems:
            tell_counts(time.monotonic() - begin)
    finally:
        for process in askers + [gateway.process]:
            process.send_signal(signal.SIGKILL)
            process.wait()
print("\n".join(problems), end="\n" if problems else "")
sys.exit(1 if problems else 0)
