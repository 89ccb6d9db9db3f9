"""What is asked of a server about one resource, and what its answers mean."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from .clock import now
from .connection import Answer, Cancellation, Connection, Server
from .retries import ask_until_decided

__all__ = ["ANSWER_WAIT_MAX", "Grant", "Wanted", "is_lost", "release", "renew"]

#: Seconds that an answer may take which does not wait for a lock.
ANSWER_WAIT_MAX = 5.0


@dataclass(frozen=True)
class Wanted:
    """What a lock is, each time that it is acquired."""

    server: Server
    name: str
    #: Whole seconds.
    ttl: int
    label: str | None
    #: ``locked_by`` of every acquisition; random for each if ``None``.
    key: str | None = field(repr=False)

    @property
    def path(self) -> str:
        return self.server.path(self.name)

    @property
    def trust(self) -> float:
        """Seconds for which a grant or a renewal is trusted, from when it was
        asked for.

        A tenth less than the ttl, for clocks that do not run alike and for what
        happens between a look at the clock and what is done then; a quarter of a
        second less at least.
        """
        return self.ttl - max(self.ttl / 10, 0.25)

    @property
    def renewal_interval(self) -> float:
        """Seconds. It leaves time for more tries before the end."""
        return self.ttl / 3


@dataclass(frozen=True)
class Grant:
    """A lock that was granted."""

    fencing_token: int
    locked_by: str = field(repr=False)
    #: By our clock; no later than when the server began to count the ttl.
    since: float

    def body(self) -> dict[str, Any]:
        """What renews and releases this grant, and no other."""
        return {"locked_by": self.locked_by, "fencing_token": self.fencing_token}


def renew(wanted: Wanted, grant: Grant, connection: Connection, until: float) -> Answer:
    """Asks once for a whole ttl from now on. Raises one of ``FAILURES``."""
    return connection.ask("PATCH", wanted.path, grant.body(), None, until)


def is_lost(answer: Answer) -> bool:
    """Whether a renewal or a release was refused because the grant is over."""
    return answer.error in ("Resource is not acquired.", "Invalid renew request.", "Invalid unlock request.")


def release(wanted: Wanted, grant: Grant, connection: Connection, until: float) -> bool:
    """Releases the lock; whether it was still held.

    Raises LockUnavailableError if no server had decided by then; LockAccessError or
    LockError if one refused.
    """
    key = str(uuid.uuid4())
    tries = 0

    def ask() -> Answer:
        nonlocal tries
        tries += 1
        return connection.ask("DELETE", wanted.path, grant.body(), key, min(now() + ANSWER_WAIT_MAX, until))

    answer = ask_until_decided(ask, until, Cancellation())
    if answer.status == 204:
        return True
    if is_lost(answer):
        # A former try may have released it, and others may have had it since.
        return tries > 1
    raise answer.refusal()
