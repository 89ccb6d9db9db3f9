"""The same lock for asyncio; what is of threads is tested with ``Lock``."""

import asyncio
import random
import time
import unittest
from typing import Any

from central_locking_system import AsyncLock, LockLost, LockNotOwnedError, LockTimeoutError

from .support import WAIT_MAX, ServerTest, Wire


class AsyncLockTest(ServerTest, unittest.IsolatedAsyncioTestCase):
    def async_lock(self, **parameters: Any) -> AsyncLock:
        return AsyncLock(self.name, **{"url": self.server.url, **parameters})

    async def test_async_with_holds_it_and_releases_it_at_its_end(self) -> None:
        async with self.async_lock(ttl=30) as lock:
            self.assertEqual(self.server.look(self.name)["fencing_token"], lock.fencing_token)
            self.assertTrue(lock.locked() and lock.owned() and not lock.lost)
            self.assertTrue(20 < lock.remaining <= 27)
            await lock.renew()
            self.assertFalse(await self.async_lock().acquire(blocking=False))
            with self.assertRaises(LockTimeoutError):
                async with self.async_lock(blocking_timeout=1):
                    pass
            self.assertIn("AsyncLock", repr(lock))

        self.require_free()
        with self.assertRaises(LockNotOwnedError):
            await lock.release()

    async def test_it_is_renewed_though_the_loop_is_busy(self) -> None:
        async with self.async_lock(ttl=1) as lock:
            time.sleep(2)

            lock.check()

    async def test_fifty_tasks_have_it_one_after_the_other(self) -> None:
        inside = most = 0
        shared = self.async_lock(ttl=30)

        async def work(lock: AsyncLock) -> None:
            nonlocal inside, most
            async with lock:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        # Some share an object.
        locks = [shared if number % 2 else self.async_lock(ttl=30) for number in range(50)]
        await asyncio.gather(*map(work, locks))

        self.assertEqual(most, 1)
        self.require_free()

    async def test_a_broken_lock_is_told_in_the_loop(self) -> None:
        told: asyncio.Future[LockLost] = asyncio.get_running_loop().create_future()
        with self.assertRaises(LockLost):
            async with self.async_lock(ttl=1, on_lost=told.set_result) as lock:
                self.server.break_lock(self.name)
                self.assertIn("Resource is not acquired", str(await asyncio.wait_for(told, WAIT_MAX)))
                self.assertTrue(lock.lost)

    async def test_what_the_body_raises_is_not_masked(self) -> None:
        with self.assertRaises(ZeroDivisionError):
            async with self.async_lock(ttl=600):
                self.server.break_lock(self.name)
                raise ZeroDivisionError

    async def test_a_task_that_is_cancelled_leaves_the_line(self) -> None:
        wire = Wire(self.server)
        self.addCleanup(wire.close)
        self.server.hold(self.name)
        # By the wire the server does not see that it leaves.
        for url in (self.server.url, wire.url):
            lock = self.async_lock(ttl=600, url=url)
            task = asyncio.create_task(lock.acquire())
            await asyncio.to_thread(self.server.until_waiting, self.name, 1)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

            self.assertEqual(self.server.look(self.name)["waiters"], 0)
            self.assertFalse(lock.locked())
        self.server.give_up(self.name)
        self.assertTrue(await lock.acquire(blocking=False), "the object can be used again")
        await lock.release()

    async def test_a_task_that_is_cancelled_as_it_is_granted_gives_back(self) -> None:
        lock = self.async_lock(ttl=600)
        for round in range(60):
            self.server.hold(self.name)
            task = asyncio.create_task(lock.acquire())
            await asyncio.to_thread(self.server.until_waiting, self.name, 1)
            giving_up = asyncio.create_task(asyncio.to_thread(self.server.give_up, self.name))
            await asyncio.sleep(random.uniform(0, 0.01))
            task.cancel()
            try:
                if await task:
                    await lock.release()
            except asyncio.CancelledError:
                pass
            await giving_up

            self.require_free()

    async def test_a_task_that_waits_for_another_of_the_same_object_can_be_cancelled(self) -> None:
        async with self.async_lock(ttl=30) as lock:
            task = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0.05)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            lock.check()

    async def test_a_task_that_is_cancelled_while_it_releases_releases(self) -> None:
        lock = self.async_lock(ttl=600)
        for _ in range(20):
            self.assertTrue(await lock.acquire())
            task = asyncio.create_task(lock.release())
            await asyncio.sleep(random.uniform(0, 0.003))
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            if lock.locked():
                # It was cancelled before it began.
                await lock.release()
            self.require_free()
