"""Locks of a Central Locking System server, as ``threading.Lock`` has them.

>>> with Lock("nightly-report", ttl=30) as lock:
...     write_report(token=lock.fencing_token)

:class:`Lock` is for threads and :class:`AsyncLock` for asyncio. How they work,
from the wire up: ``clock`` says for how long something is, ``connection`` sends
one request, ``pauses`` says when to ask again, ``acquisition`` gets a lock,
``holding`` keeps it and gives it back, ``lock`` is what programs see of it.
"""

from .async_lock import AsyncLock
from .errors import (
    LockAccessError,
    LockError,
    LockLost,
    LockNotOwnedError,
    LockTimeoutError,
    LockUnavailableError,
)
from .lock import Lock

__all__ = [
    "AsyncLock",
    "Lock",
    "LockAccessError",
    "LockError",
    "LockLost",
    "LockNotOwnedError",
    "LockTimeoutError",
    "LockUnavailableError",
]
