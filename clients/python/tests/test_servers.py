"""Servers that ask who one is, that are behind something, that go and come back."""

import os
import ssl
import subprocess
import threading
from typing import Any
from unittest import mock

from central_locking_system import Lock, LockAccessError, LockError, LockUnavailableError

from .support import Server, ServerTest, Wire, eventually


class TokenTest(ServerTest):
    settings = {"AUTH": "required"}

    def test_who_has_no_token_or_a_wrong_one_is_told_so(self) -> None:
        for token, status in (("", "401: Authentication credentials"), ("hunter2", "401: Invalid token")):
            with self.assertRaisesRegex(LockAccessError, status) as raised:
                self.lock(token=token or None).acquire()
            self.assertIsInstance(raised.exception, PermissionError)
            self.assertIsInstance(raised.exception, LockError)
            self.assertNotIn("hunter2", str(raised.exception))

    def test_a_token_is_for_its_resources(self) -> None:
        key = self.server.run("createtoken", self.name, "--prefix", "only-")
        known = Lock(f"only-{self.name}", url=self.server.url, token=key, ttl=1)

        def is_known() -> bool:
            try:
                return known.acquire(blocking=False)
            except LockAccessError:
                return False

        eventually("the server knows the token", is_known)
        known.renew()
        known.release()
        with self.assertRaisesRegex(LockAccessError, "403: You do not have permission"):
            self.lock(token=key).acquire()

        with mock.patch.dict(os.environ, {"CLS_URL": self.server.url, "CLS_TOKEN": key}):
            with Lock(f"only-{self.name}") as lock:
                self.assertNotIn(key, repr(lock))


class TLSTest(ServerTest):
    certificate: str

    @classmethod
    def setUpClass(cls) -> None:
        # A directory for the files; the server that is asked has TLS.
        plain = Server()
        cls.addClassCleanup(plain.stop)
        cls.certificate, key = str(plain.path / "cert.pem"), str(plain.path / "key.pem")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        files = ["-keyout", key, "-out", cls.certificate]
        subprocess.run(["openssl", "req", "-x509", "-days", "2", *curve, *names, *files], check=True, capture_output=True)
        os.chmod(key, 0o600)
        cls.server = Server(TLS_CERT=cls.certificate, TLS_KEY=key)
        cls.addClassCleanup(cls.server.stop)

    def secure(self, **parameters: Any) -> Lock:
        return self.lock(url=self.server.url.replace("http:", "https:"), **parameters)

    def test_a_lock_is_had_from_a_server_that_is_trusted(self) -> None:
        context = ssl.create_default_context(cafile=self.certificate)
        for trust in ({"ca_file": self.certificate}, {"ssl_context": context}):
            with self.secure(ttl=1, **trust) as lock:
                lock.renew()
                # It waits and gives up, too.
                self.assertFalse(self.secure(**trust).acquire(timeout=1))
                lock.check()

    def test_one_that_is_not_trusted_is_not_asked_again(self) -> None:
        with self.assertRaisesRegex(LockUnavailableError, "certificate verify failed"):
            self.secure().acquire()


class ComingAndGoingTest(ServerTest):
    def setUp(self) -> None:
        super().setUp()
        self.server = Server()
        self.addCleanup(self.server.stop)

    def test_who_waits_has_the_lock_after_a_restart_of_the_server(self) -> None:
        self.server.hold(self.name)
        lock = self.lock(ttl=30)
        thread = threading.Thread(target=lock.acquire, daemon=True)
        thread.start()
        self.server.until_waiting(self.name, 1)
        with self.assertLogs("central_locking_system", "WARNING") as logged:
            self.server.kill()
            eventually("it notices", lambda: bool(logged.records))

        self.server.start()
        self.server.until_waiting(self.name, 1)
        self.server.give_up(self.name)
        thread.join()
        lock.release()

    def test_a_lock_that_is_held_outlives_a_restart(self) -> None:
        with self.lock(ttl=6) as lock:
            token = lock.fencing_token
            self.server.kill()
            self.server.start()
            lock.renew()
            self.assertEqual(self.server.look(self.name)["fencing_token"], token)

    def test_a_server_that_is_not_there_is_said(self) -> None:
        lock = self.lock()
        self.server.kill()
        with self.assertRaisesRegex(LockUnavailableError, "refused") as raised:
            lock.acquire(blocking=False)
        self.assertIsInstance(raised.exception, ConnectionError)
        self.assertFalse(lock.locked())
        self.server.start()

    def test_a_path_before_that_of_the_contract(self) -> None:
        wire = Wire(self.server, prefix="/locks/here")
        self.addCleanup(wire.close)
        for url in (wire.url, f"{wire.url}/"):
            with self.lock(url=url) as lock:
                lock.renew()
                self.assertTrue(self.server.look(self.name)["locked"])
