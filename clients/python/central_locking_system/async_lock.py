"""The same lock for asyncio.

It is :class:`Lock`, whose calls run in threads, each in one of its own: those of
the loop's executor are few, and would all wait for locks that nobody can release
then. So the rules of a lock stand in one place and need no library, and a lock is
renewed while the loop is busy. The price is a thread for each task that waits.
"""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

from .connection import Cancellation
from .errors import LockError, LockLost, LockTimeoutError
from .lock import Lock, deadline_of

__all__ = ["AsyncLock"]

Result = TypeVar("Result")


class AsyncLock:
    """:class:`Lock` for the tasks of a loop. All that is said there holds.

    :meth:`acquire`, :meth:`release` and :meth:`renew` are coroutines, and so is
    what ``async with`` does; the rest asks no server and is called as it is.

    A task that is cancelled while it acquires leaves the line, and gives back what
    it was granted in that instant, before CancelledError goes on; that takes 5 s if
    no server answers. One that is cancelled while it releases releases first.

    Parameters as those of :class:`Lock`; ``on_lost`` is called in the loop.
    """

    def __init__(
        self,
        name: str,
        *,
        ttl: int = 60,
        blocking_timeout: float | None = None,
        label: str | None = None,
        on_lost: Callable[[LockLost], None] | None = None,
        key: str | None = None,
        url: str | None = None,
        token: str | None = None,
        ca_file: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocking_timeout = blocking_timeout
        self._lock = Lock(
            name,
            ttl=ttl,
            blocking_timeout=blocking_timeout,
            label=label,
            on_lost=None if on_lost is None else self._tell_loop,
            key=key,
            url=url,
            token=token,
            ca_file=ca_file,
            ssl_context=ssl_context,
        )

    @property
    def name(self) -> str:
        return self._lock.name

    @property
    def ttl(self) -> int:
        """Seconds."""
        return self._lock.ttl

    async def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As :meth:`Lock.acquire`."""
        deadline = deadline_of(blocking, timeout)
        self._loop = asyncio.get_running_loop()
        cancellation = Cancellation()
        acquiring = _in_thread(lambda: self._lock.acquire_until(deadline, cancellation))
        try:
            return await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            cancellation.cancel()
            await _end_of(acquiring)
            if acquiring.exception() is None and acquiring.result():
                await _end_of(_in_thread(self._lock.release))
            raise

    async def release(self) -> None:
        """As :meth:`Lock.release`."""
        releasing = _in_thread(self._lock.release)
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            await _end_of(releasing)
            raise

    async def renew(self) -> None:
        """As :meth:`Lock.renew`."""
        await asyncio.shield(_in_thread(self._lock.renew))

    def check(self) -> None:
        """As :meth:`Lock.check`."""
        self._lock.check()

    def locked(self) -> bool:
        """As :meth:`Lock.locked`."""
        return self._lock.locked()

    def owned(self) -> bool:
        """As :meth:`Lock.owned`."""
        return self._lock.owned()

    @property
    def lost(self) -> bool:
        """As :attr:`Lock.lost`."""
        return self._lock.lost

    @property
    def remaining(self) -> float:
        """As :attr:`Lock.remaining`."""
        return self._lock.remaining

    @property
    def fencing_token(self) -> int:
        """As :attr:`Lock.fencing_token`."""
        return self._lock.fencing_token

    async def __aenter__(self) -> "AsyncLock":
        timeout = -1 if self._blocking_timeout is None else self._blocking_timeout
        if not await self.acquire(timeout=timeout):
            raise LockTimeoutError(f"lock {self.name!r} was held by somebody else for {timeout} s")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.release()
        except LockError:
            # What the body raised says more.
            if exc_type is None:
                raise

    def __repr__(self) -> str:
        return repr(self._lock).replace("<Lock", "<AsyncLock", 1)

    def _tell_loop(self, lost: LockLost) -> None:
        if self._on_lost is not None and self._loop is not None:
            # A loop that is closed has nobody to be told.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._on_lost, lost)


def _in_thread(call: Callable[[], Result]) -> "asyncio.Future[Result]":
    """Starts it. It must not keep the process from ending."""
    result: Future[Result] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="asks for a lock", daemon=True).start()
    return asyncio.wrap_future(result)


async def _end_of(running: "asyncio.Future[Result]") -> None:
    """Waits for it, also if the task is cancelled once more."""
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    running.exception()
