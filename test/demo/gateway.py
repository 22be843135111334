#!/usr/bin/env python3
"""A payment gateway as one meets it: slow, failing, idle, late.

Usage: gateway.py PORT MOODS

Listens on 127.0.0.1 (PORT 0: any free one) and prints its port.  MOODS is a
JSON file {reference: [mood, ...]}: how each question about a payment is
answered; the last mood is kept.

  captured, declined, pending   the truth
  late X      mood X, but long after it was asked
  500, 404    says so
  garbage     200, and something that is not JSON
  cut         200, and half of an answer
  other       200, and what it knows of another payment
  reset       the connection is reset
  idle        accepts the question and never answers
  drip        sends its headers byte by byte

GET /counts tells how often it was in which mood.
"""
import collections
import http.server
import json
import socket
import struct
import sys
import threading
import time
import urllib.parse

LATE = 0.35                                     # seconds
IDLE = 30
STATES = ("captured", "declined", "pending")

moods = {}
asked = collections.Counter()                   # by reference
counts = collections.Counter()                  # by mood
lock = threading.Lock()


def next_mood(reference):
    with lock:
        planned = moods.get(reference, ["404"])
        mood = planned[min(asked[reference], len(planned) - 1)]
        asked[reference] += 1
        counts[mood] += 1
    return mood


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            if self.path == "/counts":
                with lock:
                    self.say(200, json.dumps(counts))
                return
            reference = urllib.parse.unquote(self.path.rsplit("/", 1)[-1])
            self.be(next_mood(reference), reference)
        except OSError:                         # whoever asked is gone
            pass
        self.close_connection = True

    def be(self, mood, reference):
        if mood.startswith("late "):
            time.sleep(LATE)
            mood = mood.removeprefix("late ")
        if mood in STATES:
            self.say(200, self.known(reference, mood))
        elif mood == "other":
            self.say(200, self.known("another", "declined"))
        elif mood == "garbage":
            self.say(200, "<html><h1>It works: failed, declined</h1>")
        elif mood == "cut":
            whole = self.known(reference, "declined")
            self.say(200, whole[:len(whole) // 2], len(whole))
        else:
            getattr(self, "be_" + mood, self.be_error)(mood)

    @staticmethod
    def known(reference, state):
        return json.dumps({"reference": reference, "state": state})

    def say(self, code, body, length=None):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def be_error(self, mood):
        self.say(int(mood), "no such payment" if mood == "404" else "sorry")

    def be_reset(self, mood):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack("ii", 1, 0))
        self.connection.close()

    def be_idle(self, mood):
        time.sleep(IDLE)

    def be_drip(self, mood):
        for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"." * 200:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request, address):   # of a connection it reset
        pass


if __name__ == "__main__":
    with open(sys.argv[2], encoding="utf-8") as file:
        moods = json.load(file)
    server = Server(("127.0.0.1", int(sys.argv[1])), Gateway)
    print(server.server_address[1], flush=True)
    server.serve_forever()
