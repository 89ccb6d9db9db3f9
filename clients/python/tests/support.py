"""A real server in a directory of its own, and a wire to it that fails as told.

``CLS_BINARY`` names the server's program. With ``DATABASE_URL`` all servers have
that database, which is migrated; so each test has names of its own.
"""

import contextlib
import http.client
import itertools
import json
import logging
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from central_locking_system import Lock

#: Seconds within which what must come has come, on a busy machine.
WAIT_MAX = 20.0

#: Seconds by which an answer is late.
LATE = 0.5

_numbers = itertools.count()

# What is logged of failures that tests make is not for who runs them.
logging.getLogger("central_locking_system").addHandler(logging.NullHandler())


def eventually(what: str, claim: Callable[[], bool]) -> None:
    """Asks until the answer is yes."""
    until = time.monotonic() + WAIT_MAX
    while not claim():
        if time.monotonic() > until:
            raise AssertionError(f"not within {WAIT_MAX} s: {what}")
        time.sleep(0.002)


class Server:
    """A running server; ``stop`` ends it."""

    def __init__(self, **settings: str) -> None:
        self._directory = tempfile.TemporaryDirectory()
        self.path = Path(self._directory.name)
        self._settings = {"CONNECTIONS_MAX": "500", "RUST_LOG": "warn", **settings}
        if "DATABASE_URL" in os.environ:
            self._settings["DATABASE_URL"] = os.environ["DATABASE_URL"]
        self.port = 0
        self.start()

    def _call(self, *arguments: str) -> dict[str, Any]:
        environment = {"PATH": os.environ["PATH"], **self._settings}
        return {"args": [os.environ["CLS_BINARY"], *arguments], "cwd": self.path, "env": environment}

    def start(self) -> None:
        """At the port that it had before, if it had one."""
        self._log = open(self.path / "stderr.log", "a")
        call = self._call("runserver", f"127.0.0.1:{self.port}")
        self.process = subprocess.Popen(**call, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Starting server at"):
                self.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])
                return
        raise AssertionError((self.path / "stderr.log").read_text())

    def run(self, *arguments: str) -> str:
        """What another command says."""
        done = subprocess.run(**self._call(*arguments), check=True, capture_output=True)
        return bytes(done.stdout).decode().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    def stop(self) -> None:
        self.kill()
        self._directory.cleanup()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What it answers without our client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_MAX)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            return json.loads(connection.getresponse().read() or "null")
        finally:
            connection.close()

    def look(self, name: str) -> Any:
        return self.ask("GET", f"/locks/{quote(name, safe='')}/")

    def hold(self, name: str) -> None:
        """Somebody else acquires it."""
        answer = self.ask("PUT", f"/locks/{quote(name, safe='')}/", {"locked_by": "somebody", "ttl": 600})
        assert "Success" in answer, answer

    def give_up(self, name: str) -> None:
        """And releases it."""
        assert self.ask("DELETE", f"/locks/{quote(name, safe='')}/", {"locked_by": "somebody"}) is None

    def break_lock(self, name: str) -> None:
        assert "Success" in self.ask("POST", f"/locks/{quote(name, safe='')}/break/", {"reason": "a test"})

    def until_waiting(self, name: str, count: int) -> None:
        eventually(f"{count} wait for {name}", lambda: bool(self.look(name)["waiters"] == count))


class Wire:
    """Stands before servers, of which each gets one connection after the other, and
    which are not told when a client leaves unless it ``tells``. ``fate`` is asked for each request what becomes of
    it: nothing (None); its answer is "late" by LATE seconds or "lost"; when it was sent
    on both sides are "cut", or the client's "alone". A path that begins with ``prefix`` goes on without that."""

    def __init__(
        self,
        *servers: Server,
        prefix: str = "",
        tells: bool = False,
        fate: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._tells = tells
        self._servers, self._prefix, self._fate = itertools.cycle(servers), prefix.encode(), fate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{prefix}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # Who accepts is woken by that.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client, next(self._servers).port), daemon=True).start()

    def _carry(self, client: socket.socket, port: int) -> None:
        with client, contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port)) as server:
                while request := self._request(client):
                    fate = self._fate()
                    server.sendall(request.replace(b" " + self._prefix, b" ", 1))
                    if fate == "cut":
                        return
                    if fate == "alone":
                        client.shutdown(socket.SHUT_RDWR)
                    if self._tells and client in select.select([client, server], [], [])[0]:
                        return
                    answer = server.recv(65536)
                    if fate == "lost" or not answer:
                        return
                    if fate == "late":
                        time.sleep(LATE)
                    client.sendall(answer)

    @staticmethod
    def _request(client: socket.socket) -> bytes:
        """A request with its body; empty at the end."""
        received = b""
        while True:
            head, blank, body = received.partition(b"\r\n\r\n")
            if blank:
                lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                if len(body) >= int(lengths[0].split(b":")[1]):
                    return received
            piece = client.recv(65536)
            if not piece:
                return b""
            received += piece


class ServerTest(unittest.TestCase):
    """Tests that share one server."""

    server: Server
    settings: dict[str, str] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(**cls.settings)
        cls.addClassCleanup(cls.server.stop)

    def setUp(self) -> None:
        #: Of a resource that no other test has.
        self.name = f"{type(self).__name__}/{next(_numbers)}"

    def lock(self, **parameters: Any) -> Lock:
        """A lock on it."""
        return Lock(self.name, **{"url": self.server.url, **parameters})

    def require_free(self) -> None:
        self.assertFalse(self.server.look(self.name)["locked"])
