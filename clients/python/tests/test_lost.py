"""How a lock is lost, who is told, and when."""

import threading
import time

from central_locking_system import LockError, LockLost, LockUnavailableError

from .support import WAIT_MAX, ServerTest, Wire, eventually


class Told:
    """An ``on_lost`` that notes what it is told."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.reasons: list[str] = []
        self._event = threading.Event()

    def __call__(self, lost: LockLost) -> None:
        self.times.append(time.monotonic())
        self.reasons.append(str(lost))
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(WAIT_MAX), "nobody was told"


class LostTest(ServerTest):
    def test_a_broken_lock_is_told_at_its_next_renewal_and_raises(self) -> None:
        told = Told()
        with self.assertRaisesRegex(LockLost, "Resource is not acquired"), self.lock(ttl=2, on_lost=told) as lock:
            self.server.break_lock(self.name)
            told.wait()

            self.assertTrue(lock.lost and lock.locked())
            self.assertFalse(lock.owned())
            self.assertEqual(lock.remaining, 0)
            for use in (lock.check, lock.renew):
                self.assertRaises(LockLost, use)
        self.assertFalse(lock.locked())
        self.assertEqual(len(told.times), 1)
        with lock:
            lock.check()

    def test_a_later_holder_is_not_disturbed_by_who_lost_it(self) -> None:
        told = Told()
        lost = self.lock(ttl=2, on_lost=told)
        self.assertTrue(lost.acquire())
        self.server.break_lock(self.name)
        with self.lock(ttl=30) as later:
            told.wait()
            self.assertIn("Invalid renew request", told.reasons[0])
            self.assertRaises(LockLost, lost.release)

            later.renew()

    def test_a_later_grant_to_the_same_key_is_another_one(self) -> None:
        told = Told()
        lost, later = self.lock(ttl=2, key="shared", on_lost=told), self.lock(ttl=600, key="shared")
        self.assertTrue(lost.acquire())
        self.server.break_lock(self.name)
        with later:
            told.wait()
            self.assertRaises(LockLost, lost.release)
            later.renew()

            # Nor does one who only looks for it disturb who has it.
            self.assertFalse(self.lock(key="shared").acquire(timeout=1))
            later.renew()

    def test_a_renewal_and_a_release_see_a_break_themselves(self) -> None:
        lock = self.lock(ttl=600)
        self.assertTrue(lock.acquire())
        self.server.break_lock(self.name)
        self.assertRaises(LockLost, lock.renew)
        self.assertRaises(LockLost, lock.release)

        self.assertTrue(lock.acquire())
        self.server.break_lock(self.name)
        self.assertRaises(LockLost, lock.release)
        self.assertFalse(lock.locked())

    def test_what_the_body_raises_is_not_masked(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.lock(ttl=600):
            self.server.break_lock(self.name)
            raise ZeroDivisionError

    def test_trust_ends_while_the_server_is_stopped_before_another_can_have_the_lock(self) -> None:
        told = Told()
        had_at: list[float] = []

        def work() -> None:
            with self.lock(ttl=30):
                had_at.append(time.monotonic())

        lock = self.lock(ttl=2, on_lost=told)
        self.assertTrue(lock.acquire())
        other = threading.Thread(target=work, daemon=True)
        other.start()
        self.server.until_waiting(self.name, 1)
        with self.server.paused():
            stopped_at = time.monotonic()
            told.wait()
        other.join()

        # It is sure of that long: its last renewal may have been a moment before.
        self.assertLess(told.times[0], stopped_at + 2)
        self.assertLess(told.times[0], had_at[0])
        self.assertRaises(LockLost, lock.check)
        self.assertRaises(LockLost, lock.release)

    def test_who_is_cut_off_loses_it_and_gives_it_back_when_that_is_over(self) -> None:
        told, is_cut = Told(), threading.Event()
        wire = Wire(self.server, fate=lambda: "cut" if is_cut.is_set() else None)
        self.addCleanup(wire.close)
        lock = self.lock(ttl=3, url=wire.url, on_lost=told)
        self.assertTrue(lock.acquire())
        is_cut.set()
        told.wait()
        is_cut.clear()

        with self.assertRaisesRegex(LockLost, "no renewal succeeded in time"):
            lock.release()
        eventually("it is free", lambda: not self.server.look(self.name)["locked"])

    def test_a_short_failure_costs_nothing(self) -> None:
        told = Told()
        with self.lock(ttl=3, on_lost=told) as lock:
            with self.server.paused():
                # Longer than until the next renewal, shorter than until the end.
                until = time.monotonic() + 1.5
                eventually("some time is over", lambda: time.monotonic() > until)
            lock.renew()
            lock.check()
        self.assertEqual(told.reasons, [])

    def test_a_release_that_cannot_be_told_says_so(self) -> None:
        lock = self.lock(ttl=3)
        self.assertTrue(lock.acquire())
        began = time.monotonic()
        with self.server.paused():
            self.assertRaises(LockUnavailableError, lock.release)

        self.assertLess(time.monotonic() - began, 3.5)
        self.assertFalse(lock.locked())
        self.assertRaises(LockError, lock.check)
