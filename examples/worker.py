#!/usr/bin/env python3
"""Works under a lock, and survives a lost answer, a pause and an expired lock.

    worker.py http://localhost:8000 nightly-report store.txt
"""

import argparse
import fcntl
import http.client
import json
import secrets
import threading
import time
import urllib.parse
import uuid

NO_ANSWER = (OSError, http.client.HTTPException)


class Lost(Exception):
    """The lock is not ours any more; what was not written must not be."""


def now():
    # Not time.monotonic(), which stands still while the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lock:
    def __init__(self, server, name, ttl):
        self.host = urllib.parse.urlsplit(server).netloc
        self.path = f"/resources/{urllib.parse.quote(name, safe='')}/"
        self.ttl = ttl
        self.locked_by = secrets.token_urlsafe()
        self.token = None
        self.held_until = 0
        self.done = threading.Event()

    def ask(self, method, body, patience, headers=()):
        connection = http.client.HTTPConnection(self.host, timeout=patience)
        try:
            body = json.dumps({"locked_by": self.locked_by, **body})
            headers = {"Content-Type": "application/json", "Connection": "close", **dict(headers)}
            connection.request(method, self.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def ask_until_answered(self, method, body, patience):
        # The same key each time: whatever became of the first request, it is done once.
        key = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            try:
                status, said, headers = self.ask(method, body, patience, key)
                if status not in (429, 503):
                    return status, said, headers
            except NO_ANSWER:
                pass
            time.sleep(0.2 + secrets.randbelow(300) / 1000)

    def acquire(self, timeout):
        body = {"ttl": self.ttl, "timeout": timeout, "label": "examples/worker.py"}
        status, said, headers = self.ask_until_answered("PUT", body, timeout + 5)
        if status != 200:
            raise TimeoutError(said.decode())
        self.token = int(headers["Fencing-Token"])
        # The grant may be older than its answer. From here on it is known for how long it holds.
        self.renew()
        threading.Thread(target=self.keep, daemon=True).start()

    def keep(self):
        # At a third of the ttl, so that one renewal may fail.
        while not self.done.wait(self.ttl / 3):
            self.renew()

    def renew(self):
        sent_at = now()
        try:
            status, _, _ = self.ask("PATCH", {"fencing_token": self.token}, self.ttl / 3)
        except NO_ANSWER:
            return
        if status == 200:
            # From when it was asked, not from when it was answered.
            self.held_until = sent_at + self.ttl
        elif status == 400:
            self.held_until = 0

    def require(self):
        if now() >= self.held_until:
            raise Lost

    def release(self):
        self.done.set()
        # With its token, so that it never frees a later grant. 400 is that it was over before.
        self.ask_until_answered("DELETE", {"fencing_token": self.token}, 5)


class Store:
    """What is guarded: a file of lines "token text". It never goes back to a lower token."""

    def __init__(self, path):
        self.path = path

    def write(self, token, text):
        with open(self.path, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            highest = max((int(line.split()[0]) for line in file), default=0)
            # Here and nowhere else it is certain: whoever writes may have slept since it looked.
            if token < highest:
                raise Lost
            file.write(f"{token} {text}\n")


def work(arguments):
    store = Store(arguments.store)
    lock = None
    done = 0
    while done < arguments.writes:
        if lock is None:
            lock = Lock(arguments.server, arguments.name, arguments.ttl)
            lock.acquire(timeout=30)
        try:
            lock.require()
            store.write(lock.token, f"{arguments.who} {done}")
            print(f"{lock.token} {done}", flush=True)
            done += 1
            time.sleep(arguments.pace)
        except Lost:
            print("lost", flush=True)
            lock.release()
            lock = None
    lock.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("name")
    parser.add_argument("store")
    parser.add_argument("--who", default="worker")
    parser.add_argument("--ttl", type=int, default=60)
    parser.add_argument("--writes", type=int, default=10)
    parser.add_argument("--pace", type=float, default=0.5, help="seconds between writes")
    work(parser.parse_args())
