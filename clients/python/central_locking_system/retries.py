"""When to ask again after a failure."""

import logging
import random
import ssl
from collections.abc import Callable

from .clock import now
from .connection import FAILURES, Answer, Cancellation
from .errors import LockUnavailableError

__all__ = ["Pauses", "ask_until_decided", "describe"]

#: Seconds of the first pause: a connection that was cut is made anew at once.
FIRST_PAUSE = 0.01

#: Seconds of the longest: a server that comes back is found soon, and a
#: thousand clients are some hundred requests a second for one that does not.
PAUSE_MAX = 5.0


_log = logging.getLogger(__package__)


class Pauses:
    """Pauses that grow, each by chance between half of it and all, so that those
    who failed together do not come back together."""

    def __init__(self) -> None:
        self._longest = FIRST_PAUSE

    def next(self, failure: str, retry_after: float | None) -> float:
        """Seconds to wait now; no fewer than the server asked for. The first
        failure is logged."""
        if self._longest == FIRST_PAUSE:
            _log.warning("the lock server will be asked again: %s", failure)
        pause = self._longest * random.uniform(0.5, 1)
        self._longest = min(2 * self._longest, PAUSE_MAX)
        return max(pause, retry_after or 0)


def ask_until_decided(ask: Callable[[], Answer], until: float, cancellation: Cancellation) -> Answer:
    """The first answer that would be the same if it was asked again.

    ``until`` is by ``clock.now``. Raises LockUnavailableError if there was none by
    then, with the reason of the last failure, or at once if the server is not the one
    that it should be; Cancelled.
    """
    pauses = Pauses()
    while True:
        cancellation.require_not()
        retry_after = None
        try:
            answer = ask()
        except ssl.SSLCertVerificationError as error:
            raise LockUnavailableError(describe(error)) from error
        except FAILURES as error:
            cancellation.require_not()
            failure = describe(error)
        else:
            if answer.is_decided:
                return answer
            retry_after, failure = answer.retry_after, answer.describe()
        pause = pauses.next(failure, retry_after)
        if now() + pause >= until:
            raise LockUnavailableError(failure)
        cancellation.pause(pause)


def describe(failure: Exception) -> str:
    """Why there was no answer."""
    return str(failure) or type(failure).__name__
