"""The lock as programs see it."""

import math
import os
import ssl
import threading
import weakref
from collections.abc import Callable
from types import TracebackType

from .acquisition import acquire
from .clock import now
from .connection import Cancellation, Connection, Server
from .errors import LockError, LockLost, LockNotOwnedError, LockTimeoutError
from .holding import Holding
from .operations import Wanted

__all__ = ["Lock"]

#: Seconds of a ttl, at most. The contract's.
TTL_MAX = 2_147_483_647


class Lock:
    """A lock on ``name`` that all clients of one server share.

    Like ``threading.Lock`` it is not reentrant, may be released by another thread
    than acquired it, and excludes the threads that share the object from each
    other too. Unlike it, it can be lost: what it guards has to ask for that with
    :meth:`check`, and to send ``fencing_token`` along with each write.

    While it is held a daemon thread renews it at a third of ``ttl`` and after each
    failure. If no renewal succeeds it is lost before its ttl is over.

    A process that ends without a release, or that forgets the object, leaves the
    lock to end with its ttl. A child made by ``fork`` holds nothing that its
    parent acquired.

    Parameters:

    name: 1 to 100 characters.
    ttl: whole seconds, 1 to 2147483647, after which a lock ends whose holder is
        gone. Some times as long as the longest pause of a healthy program.
    blocking_timeout: seconds for which ``with`` waits; as long as it takes if
        ``None``. :meth:`acquire` has its own.
    label: up to 200 characters that all may read: who holds it and why.
    on_lost: called once, in the thread that renews, when the lock is lost.
    key: the ``locked_by`` of every acquisition, 1 to 100 characters; by default
        each has a random one. Whoever knows it can release the lock.
    url: of the server; the environment's ``CLS_URL`` by default, and
        http://127.0.0.1:8000 without that. It may have a path, of a proxy.
    token: shown to the server; the environment's ``CLS_TOKEN`` by default.
    ca_file: certificates in PEM that are trusted in place of the system's.
    ssl_context: in place of ``ca_file``, for a certificate of the client.
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
        if not isinstance(name, str) or not name:
            raise ValueError("name must be text of at least one character")
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not 1 <= ttl <= TTL_MAX:
            raise ValueError(f"ttl must be whole seconds, 1 to {TTL_MAX}")
        if key is not None and not key:
            raise ValueError("key must have at least one character")
        if blocking_timeout is not None:
            deadline_of(True, blocking_timeout)
        self._wanted = Wanted(Server(url, token, ca_file, ssl_context), name, ttl, label, key)
        self._blocking_timeout = blocking_timeout
        self._on_lost = on_lost
        self._reset()
        _all_locks.add(self)

    def _reset(self) -> None:
        #: Guards what follows, and tells when the lock is free for another thread.
        self._free = threading.Condition()
        #: Whether some thread of this process has the lock, or is about to get it.
        self._is_taken = False
        #: Of whoever acquires or releases; one at a time does.
        self._connection = Connection(self._wanted.server)
        self._holding: Holding | None = None

    @property
    def name(self) -> str:
        return self._wanted.name

    @property
    def ttl(self) -> int:
        """Seconds."""
        return self._wanted.ttl

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquires the lock; whether it could be had.

        Waits for it in the server's line, first come first served, for ``timeout``
        seconds, rounded up to whole ones; or, if that is -1, as long as it takes.
        With ``blocking=False`` it does not wait. It may take 5 s longer if no server
        answers.

        Raises LockUnavailableError if no server has decided by then;
        LockAccessError or LockError if one refused for another reason than that
        the lock is held; ValueError as ``threading.Lock.acquire`` does.
        """
        return self.acquire_until(deadline_of(blocking, timeout), Cancellation())

    def acquire_until(self, deadline: float, cancellation: Cancellation) -> bool:
        """For this package: :meth:`acquire` that another thread can end."""
        if not self._take(deadline, cancellation):
            return False
        is_acquired = False
        connection = self._connection
        cancellation.call(connection.interrupt)
        try:
            grant = acquire(self._wanted, connection, deadline, cancellation)
            if grant is not None:
                self._holding = Holding(self._wanted, grant, self._on_lost)
                is_acquired = True
        finally:
            cancellation.forget(connection.interrupt)
            if cancellation.is_cancelled():
                connection.close()
                self._connection = Connection(self._wanted.server)
            if not is_acquired:
                self._give_up()
        return is_acquired

    def _take(self, deadline: float, cancellation: Cancellation) -> bool:
        """Excludes the other threads of this process."""

        def wake() -> None:
            with self._free:
                self._free.notify_all()

        cancellation.call(wake)
        try:
            with self._free:
                while self._is_taken:
                    cancellation.require_not()
                    left = deadline - now()
                    if left <= 0:
                        return False
                    self._free.wait(min(left, threading.TIMEOUT_MAX))
                self._is_taken = True
                return True
        finally:
            cancellation.forget(wake)

    def _give_up(self) -> None:
        with self._free:
            self._is_taken = False
            self._free.notify()

    def release(self) -> None:
        """Releases the lock.

        Raises LockNotOwnedError, which is a RuntimeError, if it is not acquired;
        LockLost if it was lost before; LockUnavailableError if no server could be
        told within 10 s, and it may be held for the rest of its ttl. In each case
        it is not acquired afterwards.
        """
        with self._free:
            holding, self._holding = self._required(), None
        try:
            holding.release(self._connection)
        finally:
            self._give_up()

    def renew(self) -> None:
        """Renews the lock now, for a whole ttl. Nobody needs to, since that is done
        in the background.

        Raises LockNotOwnedError if it is not acquired, and LockLost if it is lost
        before a renewal succeeds.
        """
        self._required().renew()

    def check(self) -> None:
        """Raises LockLost if the lock cannot be trusted any more, and
        LockNotOwnedError if it is not acquired. Asks no server."""
        self._required().check()

    def locked(self) -> bool:
        """Whether this object is acquired, like ``threading.Lock.locked``; also if
        the lock is lost, until it is released. Asks no server."""
        return self._holding is not None

    def owned(self) -> bool:
        """Whether this object is acquired and the lock can be trusted. Asks no
        server."""
        return self.remaining > 0

    @property
    def lost(self) -> bool:
        """Whether this object is acquired, and the lock cannot be trusted."""
        holding = self._holding
        return holding is not None and holding.remaining() <= 0

    @property
    def remaining(self) -> float:
        """Seconds for which the lock can be trusted if it is not renewed; 0 if it
        is lost or not acquired."""
        holding = self._holding
        return 0.0 if holding is None else max(holding.remaining(), 0.0)

    @property
    def fencing_token(self) -> int:
        """Rises with each grant of the resource. Send it with each write to what
        the lock guards, and let that refuse a lower one than it has seen.

        Raises LockNotOwnedError if the lock is not acquired.
        """
        return self._required().fencing_token

    def __enter__(self) -> "Lock":
        timeout = -1 if self._blocking_timeout is None else self._blocking_timeout
        if not self.acquire(timeout=timeout):
            raise LockTimeoutError(f"lock {self.name!r} was held by somebody else for {timeout} s")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except LockError:
            # What the body raised says more.
            if exc_type is None:
                raise

    def __del__(self) -> None:
        # Nobody can release it any more. The parameters may have been wrong.
        if hasattr(self, "_holding"):
            self._connection.close()
            if self._holding is not None:
                self._holding.abandon()

    def __repr__(self) -> str:
        state = "lost" if self.lost else "locked" if self.locked() else "unlocked"
        return f"<{type(self).__name__} {self.name!r} {state} at {self._wanted.server!r}>"

    def _required(self) -> Holding:
        holding = self._holding
        if holding is None:
            raise LockNotOwnedError(f"lock {self.name!r} is not acquired")
        return holding


def deadline_of(blocking: bool, timeout: float) -> float:
    """By ``clock.now``. Raises ValueError where ``threading.Lock.acquire`` does."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if not blocking:
        return now()
    return math.inf if timeout == -1 else now() + timeout


_all_locks: "weakref.WeakSet[Lock]" = weakref.WeakSet()


def _reset_in_child() -> None:
    # Its threads are not there, and its connections are the parent's.
    for lock in list(_all_locks):
        lock._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
