"""Keeping a lock that was granted, and giving it back.

A thread renews it. It is the only one that does, on a connection of its own, so
that nothing the program does delays a renewal; the program's threads look at the
clock, and wait for the thread where they want a renewal themselves. Whoever first
sees that the time of the lock is over marks it as lost, and it stays so: an
answer that comes later changes nothing any more.
"""

import contextlib
import logging
import threading
from collections.abc import Callable

from .clock import now
from .connection import FAILURES, Connection
from .errors import LockError, LockLost, LockNotOwnedError
from .operations import ANSWER_WAIT_MAX, Grant, Wanted, is_lost, release, renew
from .retries import Pauses, describe

__all__ = ["Holding"]

#: Seconds for which it is tried to release a lock.
RELEASE_WAIT_MAX = 10.0

#: Seconds for which it is tried where the lock is lost anyway.
LOST_RELEASE_WAIT_MAX = 1.0

_log = logging.getLogger(__package__)


class Holding:
    """A lock from its grant to its release."""

    def __init__(self, wanted: Wanted, grant: Grant, on_lost: Callable[[LockLost], None] | None) -> None:
        self._wanted = wanted
        self._grant = grant
        self._on_lost = on_lost
        self._connection = Connection(wanted.server)
        #: Guards what follows, and tells of each change.
        self._changed = threading.Condition()
        self._renewed_since = grant.since
        #: When the last renewal was sent, which may have been carried out.
        self._sent_at = grant.since
        self._wants_renewal = False
        self._is_released = False
        self._is_over_at_server = False
        self._reason_lost: str | None = None
        #: Why the last renewal did not succeed.
        self._failure: str | None = None
        # It must not keep a process from ending: the lock ends with its ttl then.
        threading.Thread(target=self._keep, name=f"renews lock {wanted.name}", daemon=True).start()

    @property
    def fencing_token(self) -> int:
        return self._grant.fencing_token

    def remaining(self) -> float:
        """Seconds for which the lock can be trusted yet, if it is not renewed."""
        with self._changed:
            return 0.0 if self._is_lost() else self._trusted_until() - now()

    def check(self) -> None:
        """Raises LockLost if the lock cannot be trusted any more."""
        with self._changed:
            if self._is_lost():
                raise self._lost()

    def renew(self) -> None:
        """Returns when the lock was renewed after the call. Raises LockLost if
        that did not succeed in time; LockNotOwnedError if it was released."""
        with self._changed:
            called_at = now()
            self._wants_renewal = True
            self._changed.notify_all()
            while self._renewed_since < called_at:
                if self._is_lost():
                    raise self._lost()
                if self._is_released:
                    raise LockNotOwnedError("the lock was released meanwhile")
                self._changed.wait(self._trusted_until() - now())

    def abandon(self) -> None:
        """Lets the lock end with its ttl."""
        with self._changed:
            self._is_released = True
            self._changed.notify_all()

    def release(self, connection: Connection) -> None:
        """Raises LockLost if it was lost before; LockUnavailableError,
        LockAccessError or LockError if it may be held for the rest of its ttl."""
        with self._changed:
            self._is_released = True
            lost = self._lost() if self._is_lost() else None
            is_over = self._is_over_at_server
            ends_at = self._sent_at + self._wanted.ttl
            self._changed.notify_all()
        self._connection.interrupt()
        if lost is None:
            until = min(now() + RELEASE_WAIT_MAX, ends_at)
            if not release(self._wanted, self._grant, connection, until):
                raise self._lost("the server says that it was over before")
            return
        if not is_over:
            # Others need not wait for the rest of its ttl.
            with contextlib.suppress(LockError):
                release(self._wanted, self._grant, connection, min(now() + LOST_RELEASE_WAIT_MAX, ends_at))
        raise lost

    def _trusted_until(self) -> float:
        return self._renewed_since + self._wanted.trust

    def _is_lost(self) -> bool:
        """Whether it is lost, for good. The caller has ``_changed``."""
        if self._reason_lost is None and now() >= self._trusted_until():
            self._lose(f"no renewal succeeded in time; the last failure: {self._failure}")
        return self._reason_lost is not None

    def _lose(self, reason: str) -> None:
        self._reason_lost = reason
        self._changed.notify_all()

    def _lost(self, reason: str | None = None) -> LockLost:
        return LockLost(f"lock {self._wanted.name!r} is lost: {reason or self._reason_lost}")

    def _keep(self) -> None:
        pauses = Pauses()
        due_at = self._grant.since + self._wanted.renewal_interval
        while self._is_due(due_at):
            retry_after = self._renew()
            if self._failure is None or self._is_over_at_server:
                pauses = Pauses()
                due_at = self._renewed_since + self._wanted.renewal_interval
            else:
                due_at = now() + pauses.next(self._failure, retry_after)
        self._connection.close()
        with self._changed:
            lost = self._lost() if self._reason_lost is not None else None
        if lost is not None:
            _log.warning("%s", lost)
            if self._on_lost is not None:
                self._on_lost(lost)

    def _is_due(self, due_at: float) -> bool:
        """Waits until a renewal is due; false if there shall be none any more."""
        with self._changed:
            while not self._is_lost() and not self._is_released:
                if self._wants_renewal or now() >= due_at:
                    self._wants_renewal = False
                    self._sent_at = now()
                    return True
                self._changed.wait(min(due_at, self._trusted_until()) - now())
            return False

    def _renew(self) -> float | None:
        """Tries once; the seconds after which the server wants to be asked again,
        if it said so."""
        sent_at = self._sent_at
        # Half of what is left, so that a lost answer leaves time for another try.
        until = min(sent_at + ANSWER_WAIT_MAX, (sent_at + self._trusted_until()) / 2)
        failure, retry_after, is_over = None, None, False
        try:
            answer = renew(self._wanted, self._grant, self._connection, until)
        except FAILURES as error:
            failure = describe(error)
        else:
            if answer.status != 200:
                failure, retry_after, is_over = answer.describe(), answer.retry_after, is_lost(answer)
        with self._changed:
            self._failure = failure
            if is_over:
                self._is_over_at_server = True
                self._lose(f"the server says {failure}")
            elif failure is None and not self._is_lost():
                self._renewed_since = sent_at
                self._changed.notify_all()
        return retry_after
