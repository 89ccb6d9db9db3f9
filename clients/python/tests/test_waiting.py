"""Waits that are longer than a request may take, and servers that have no room."""

import os
import threading
import time

from central_locking_system import Lock, LockError

from .support import WAIT_MAX, Server, ServerTest, Wire, eventually


class ShortRequestsTest(ServerTest):
    """The server lets nobody wait for more than two seconds in one request."""

    settings = {"MAX_TIMEOUT": "2"}

    def test_who_waits_for_long_keeps_the_place_in_line(self) -> None:
        self.server.hold(self.name)
        served = []

        def work(number: int) -> None:
            with self.lock(ttl=30):
                served.append(number)

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(2)]
        threads[0].start()
        self.server.until_waiting(self.name, 1)
        began = time.monotonic()
        # It comes before the first request's wait is taken over, which is after 1.3 s.
        time.sleep(0.9)
        threads[1].start()
        self.server.until_waiting(self.name, 2)
        while time.monotonic() < began + 1.8:
            self.assertEqual(self.server.look(self.name)["waiters"], 2)
        self.server.give_up(self.name)
        for thread in threads:
            thread.join()

        self.assertEqual(served, [0, 1])

    def test_behind_a_load_balancer_everybody_is_served_and_nothing_is_left_behind(self) -> None:
        # Several servers can have one database only if that is PostgreSQL.
        other = Server(**self.settings) if "DATABASE_URL" in os.environ else self.server
        if other is not self.server:
            self.addCleanup(other.stop)
        wire = Wire(self.server, other, tells=True)
        self.addCleanup(wire.close)
        names = [f"{self.name}-{number}" for number in range(20)]
        served = []

        def work(name: str) -> None:
            with Lock(name, url=wire.url, ttl=600):
                served.append(name)

        threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in names]
        for name, thread in zip(names, threads):
            self.server.hold(name)
            thread.start()
            time.sleep(0.06)
        # Each at another moment of its wait, before and after a request took over.
        for name in names:
            self.server.give_up(name)
            time.sleep(0.09)
        for thread in threads:
            thread.join(WAIT_MAX)

        self.assertEqual(sorted(served), sorted(names))
        eventually("nobody waits", lambda: not any(self.server.look(name)["waiters"] for name in names))
        self.assertFalse(any(self.server.look(name)["locked"] for name in names))

    def test_a_long_wait_ends_with_its_timeout(self) -> None:
        with self.lock(ttl=30):
            began = time.monotonic()
            self.assertFalse(self.lock().acquire(timeout=3.5))
            self.assertTrue(3.5 <= time.monotonic() - began < 8)

    def test_a_lock_that_was_waited_for_is_trusted_from_its_grant_on(self) -> None:
        self.server.hold(self.name)
        lock = self.lock(ttl=2)
        thread = threading.Thread(target=lock.acquire, daemon=True)
        thread.start()
        # Longer than the ttl: by when it was first asked for it would be over.
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            time.sleep(0.01)
        self.server.give_up(self.name)
        thread.join()

        self.assertGreater(lock.remaining, 1)
        lock.release()


class NoWaitTest(ServerTest):
    settings = {"MAX_TIMEOUT": "0"}

    def test_a_server_that_lets_nobody_wait_is_not_polled(self) -> None:
        self.server.hold(self.name)
        with self.assertRaisesRegex(LockError, "less than or equal to 0"):
            self.lock().acquire(timeout=5)
        self.assertFalse(self.lock().acquire(blocking=False))


class FullLineTest(ServerTest):
    settings = {"WAITERS_PER_RESOURCE_MAX": "1"}

    def test_who_finds_no_room_in_line_asks_again_when_the_server_wants_it(self) -> None:
        self.server.hold(self.name)
        served: list[bool] = []

        def work() -> None:
            with self.lock(ttl=30):
                served.append(True)

        first, second = threading.Thread(target=work, daemon=True), threading.Thread(target=work, daemon=True)
        first.start()
        self.server.until_waiting(self.name, 1)
        began = time.monotonic()
        with self.assertLogs("central_locking_system", "WARNING") as logged:
            second.start()
            eventually("it is refused", lambda: bool(logged.records))
        self.server.give_up(self.name)
        first.join()
        second.join()

        self.assertEqual(len(served), 2)
        self.assertIn("429", logged.output[0])
        self.assertGreaterEqual(time.monotonic() - began, 1, "what Retry-After says")
