"""What can go wrong with a lock.

Each is a :class:`LockError`, and also what the standard library raises in such
a case. None shows a token or the key of a lock.
"""

__all__ = [
    "LockAccessError",
    "LockError",
    "LockLost",
    "LockNotOwnedError",
    "LockTimeoutError",
    "LockUnavailableError",
]


class LockError(Exception):
    """The server refused what was asked; the text says why."""


class LockNotOwnedError(LockError, RuntimeError):
    """The lock is not acquired. ``threading.Lock`` raises RuntimeError then."""


class LockLost(LockNotOwnedError):
    """The lock was acquired and cannot be trusted any more.

    Its time passed without a renewal, or the server said that it is over.
    Whoever sees this must stop what the lock guards: another may hold it.
    """


class LockTimeoutError(LockError, TimeoutError):
    """A ``with`` statement did not get the lock within its ``blocking_timeout``."""


class LockUnavailableError(LockError, ConnectionError):
    """No server answered, or none could decide, as long as that was tried.

    The request may have been carried out all the same; what was acquired so
    ends with its ttl.
    """


class LockAccessError(LockError, PermissionError):
    """The server let nobody in without a token (401), or the token is not for
    this resource (403)."""
