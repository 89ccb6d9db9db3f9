"""What a lock does while nothing fails."""

import threading
import time
from urllib.parse import quote

from central_locking_system import Lock, LockError, LockLost, LockNotOwnedError, LockTimeoutError

from .support import ServerTest, Wire, eventually


class LockTest(ServerTest):
    def test_with_holds_it_and_releases_it_at_its_end(self) -> None:
        with self.lock(ttl=30, label="of a test") as lock:
            seen = self.server.look(self.name)

            self.assertTrue(lock.locked() and lock.owned() and not lock.lost)
            self.assertEqual((seen["fencing_token"], seen["label"]), (lock.fencing_token, "of a test"))
            self.assertTrue(26 < lock.remaining <= 27, lock.remaining)

        self.require_free()
        self.assertFalse(lock.locked() or lock.owned() or lock.lost)

    def test_with_releases_it_and_lets_an_exception_through(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.lock():
            raise ZeroDivisionError

        self.require_free()

    def test_it_is_had_again_and_again_with_rising_tokens(self) -> None:
        lock, tokens = self.lock(), []
        for _ in range(5):
            with lock:
                tokens.append(lock.fencing_token)

        self.assertEqual(tokens, sorted(set(tokens)))

    def test_one_that_is_held_is_not_had_without_waiting(self) -> None:
        with self.lock():
            other = self.lock()
            began = time.monotonic()

            self.assertFalse(other.acquire(blocking=False))
            self.assertFalse(other.acquire(timeout=0))
            self.assertLess(time.monotonic() - began, 0.9)
            self.assertFalse(other.locked())

    def test_a_wait_ends_with_its_timeout(self) -> None:
        with self.lock():
            for timeout in (0.3, 1, 1.4):
                began = time.monotonic()
                self.assertFalse(self.lock().acquire(timeout=timeout))
                self.assertGreaterEqual(time.monotonic() - began, timeout - 0.01)
                eventually("nobody waits", lambda: self.server.look(self.name)["waiters"] == 0)

            with self.assertRaises(LockTimeoutError) as raised, self.lock(blocking_timeout=0.2):
                pass
            self.assertIsInstance(raised.exception, TimeoutError)

    def test_who_waits_is_served_in_order_of_arrival(self) -> None:
        self.server.hold(self.name)
        served: list[int] = []

        def work(number: int) -> None:
            with self.lock():
                served.append(number)

        threads = []
        for number in range(5):
            thread = threading.Thread(target=work, args=(number,), daemon=True)
            thread.start()
            threads.append(thread)
            self.server.until_waiting(self.name, number + 1)
        self.server.give_up(self.name)
        for thread in threads:
            thread.join()

        self.assertEqual(served, [0, 1, 2, 3, 4])

    def test_it_is_renewed_beyond_its_ttl(self) -> None:
        with self.lock(ttl=1) as lock:
            token = lock.fencing_token
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                lock.check()
                time.sleep(0.05)

            seen = self.server.look(self.name)
            self.assertTrue(seen["locked"])
            self.assertEqual(seen["fencing_token"], token)

    def test_a_renewal_now_lasts_a_whole_ttl(self) -> None:
        with self.lock(ttl=600) as lock:
            eventually("some of it is over", lambda: lock.remaining < 539.7)

            lock.renew()

            self.assertGreater(lock.remaining, 539.7)
            self.assertGreater(self.server.look(self.name)["expires_in"], 599.7)

    def test_its_trust_ends_before_the_lock_does_however_late_answers_are(self) -> None:
        wire = Wire(self.server, fate=lambda: "late")
        self.addCleanup(wire.close)
        with self.lock(ttl=3, url=wire.url) as lock:
            until = time.monotonic() + 4
            while time.monotonic() < until:
                trusted_until = time.time() + lock.remaining
                # It may have been renewed meanwhile, which makes it later.
                expires_in = self.server.look(self.name)["expires_in"]

                self.assertLess(trusted_until, time.time() + expires_in)

    def test_threads_that_share_the_object_exclude_each_other(self) -> None:
        lock = self.lock(ttl=30)
        inside = most = 0

        def work() -> None:
            nonlocal inside, most
            for _ in range(10):
                with lock:
                    inside += 1
                    most = max(most, inside)
                    inside -= 1

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(most, 1)

        with lock:
            self.assertFalse(lock.acquire(blocking=False))
            self.assertFalse(lock.acquire(timeout=0.1))

    def test_another_thread_may_release_it(self) -> None:
        lock = self.lock()
        self.assertTrue(lock.acquire())
        thread = threading.Thread(target=lock.release)
        thread.start()
        thread.join()

        self.require_free()

    def test_what_is_not_acquired_cannot_be_used(self) -> None:
        lock = self.lock()
        for use in (lock.release, lock.renew, lock.check, lambda: lock.fencing_token):
            with self.assertRaises(LockNotOwnedError) as raised:
                use()
            self.assertIsInstance(raised.exception, RuntimeError)
            self.assertNotIsInstance(raised.exception, LockLost)
        with self.assertRaises(RuntimeError):
            threading.Lock().release()

    def test_arguments_are_refused_as_threading_refuses_them(self) -> None:
        lock, theirs = self.lock(), threading.Lock()
        for blocking, timeout in ((False, 1), (True, -2), (False, 0)):
            for acquire in (lock.acquire, theirs.acquire):
                with self.assertRaises(ValueError):
                    acquire(blocking, timeout)

    def test_parameters_that_cannot_be_are_refused(self) -> None:
        for parameters in (
            {"ttl": 0},
            {"ttl": 1.5},
            {"ttl": True},
            {"ttl": 2**31},
            {"key": ""},
            {"blocking_timeout": -2},
            {"url": "localhost:8000"},
            {"url": "http://user:hunter2@localhost"},
            {"url": "http://localhost:port"},
            {"url": "http://localhost", "ca_file": "ca.pem"},
            {"token": "hunter2\r\nX: y"},
        ):
            with self.assertRaises(ValueError) as raised:
                self.lock(**parameters)
            self.assertNotIn("hunter2", str(raised.exception))
        with self.assertRaises(ValueError):
            Lock("")

    def test_what_the_server_refuses_is_said(self) -> None:
        with self.assertRaisesRegex(LockError, "no more than 200 characters"):
            self.lock(label="x" * 201).acquire()
        with self.assertRaisesRegex(LockError, "no more than 100 characters"):
            Lock("x" * 101, url=self.server.url).acquire()

    def test_any_name_can_be_had(self) -> None:
        for name in (" ", "..", "?#%41 +", "schlüssel-☂"):
            with Lock(f"{self.name}{name}", url=self.server.url):
                names = [each["name"] for each in self.server.ask("GET", f"/resources/?prefix={self.name}")["results"]]
                self.assertIn(f"{self.name}{name}", names)

    def test_every_acquisition_has_a_key_of_its_own_unless_one_is_given(self) -> None:
        lock = self.lock()
        with lock:
            # No other of the same program can have it, or release it.
            self.assertFalse(self.lock().acquire(blocking=False))
        lock = self.lock(key="given")
        self.assertTrue(lock.acquire())
        self.assertIsNone(self.server.ask("DELETE", f"/locks/{quote(self.name, safe='')}/", {"locked_by": "given"}))
        with self.assertRaises(LockLost):
            lock.release()

    def test_one_that_is_forgotten_ends_with_its_ttl(self) -> None:
        lock = self.lock(ttl=1)
        self.assertTrue(lock.acquire())
        del lock

        self.assertTrue(self.lock().acquire(timeout=10))

    def test_nothing_secret_is_shown(self) -> None:
        with self.lock(key="hunter2-key", token="hunter2-token") as lock:
            assert lock._holding is not None
            # A traceback with variables shows those of locks too.
            for shown in (repr(lock), repr(lock._holding._grant), repr(lock._wanted)):
                self.assertNotIn("hunter2", shown)
            self.assertEqual(repr(lock), f"<Lock {self.name!r} locked at <Server {self.server.url}>>")

