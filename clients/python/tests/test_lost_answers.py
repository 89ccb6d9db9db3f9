"""Answers that do not come. Each request is sent again, and done once."""

import itertools
import os
import time

from central_locking_system import Lock

from .support import ServerTest, Wire

#: Each commit takes longer on PostgreSQL.
ROUNDS = 60 if "DATABASE_URL" in os.environ else 200


class LostAnswersTest(ServerTest):
    def wire(self, fates: list[str | None]) -> str:
        """One on which these become of one request after the other, over and over."""
        wire = Wire(self.server, fate=itertools.cycle(fates).__next__)
        self.addCleanup(wire.close)
        return wire.url

    def test_each_first_answer_is_lost_and_nothing_is_left_behind(self) -> None:
        # Of an acquisition and of a release, read by nobody or cut off before it came.
        url = self.wire(["lost", None, "lost", None, "cut", None, "cut", None])
        lock = Lock(self.name, url=url, ttl=600)
        tokens = []
        for _ in range(ROUNDS):
            # One that is left behind would hold this one up for ten minutes.
            self.assertTrue(lock.acquire(blocking=False))
            tokens.append(lock.fencing_token)
            lock.release()
            self.require_free()

        self.assertEqual(tokens, sorted(set(tokens)))

    def test_who_waits_gets_the_lock_though_answers_are_lost(self) -> None:
        self.server.hold(self.name)
        lock = Lock(self.name, url=self.wire(["cut", "cut", "lost", None]), ttl=600)

        self.assertFalse(lock.acquire(timeout=1))
        self.server.give_up(self.name)
        self.assertTrue(lock.acquire(timeout=10))
        lock.release()

        self.require_free()

    def test_who_gives_up_after_failures_leaves_nobody_in_line(self) -> None:
        self.server.hold(self.name)
        fails_until = time.monotonic() + 1
        # The server goes on waiting for the client that was cut off.
        wire = Wire(self.server, fate=lambda: "alone" if time.monotonic() < fails_until else None)
        self.addCleanup(wire.close)

        self.assertFalse(Lock(self.name, url=wire.url, ttl=600).acquire(timeout=1))

        self.server.give_up(self.name)
        self.require_free()

    def test_a_grant_that_was_over_before_it_was_known_is_asked_for_again(self) -> None:
        fates = iter(["late", "break", None, None])

        def fate() -> str | None:
            fate = next(fates)
            if fate == "break":
                # The renewal of a grant that is told late comes too late.
                self.server.break_lock(self.name)
            return fate

        wire = Wire(self.server, fate=fate)
        self.addCleanup(wire.close)
        with Lock(self.name, url=wire.url, ttl=1, blocking_timeout=5) as lock:
            self.assertEqual(self.server.look(self.name)["fencing_token"], lock.fencing_token)
            lock.check()
            fates = itertools.repeat(None)

    def test_renewals_are_tried_again(self) -> None:
        lock = Lock(self.name, url=self.wire([None, "lost", "cut"]), ttl=2)
        with lock:
            until = time.monotonic() + 4
            while time.monotonic() < until:
                lock.check()
                time.sleep(0.05)
            self.assertTrue(self.server.look(self.name)["locked"])
