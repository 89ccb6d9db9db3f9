"""Getting a lock: one key, one place in line, one grant or none.

What may happen meanwhile, and what becomes of it:

- An answer does not come. The same is asked again with the same
  ``Idempotency-Key``: that gets the grant if there was one, and is not held up by
  it.
- A wait is longer than one request should take. A second request is sent before
  the first ends, and takes over its place in line; the first is then told 409.
- The caller does not want it any more. It is asked once more, for as short as can
  be: only so is the line left for certain, and known whether there was a grant.
- The grant may be old when its answer comes. It is renewed before anybody is told
  of it.
"""

import contextlib
import math
import secrets
import uuid
from typing import Any

from .clock import now
from .connection import FAILURES, Answer, Cancellation, Connection
from .errors import LockError
from .operations import ANSWER_WAIT_MAX, Grant, Wanted, is_lost, release, renew
from .retries import ask_until_decided

__all__ = ["acquire"]

#: Seconds that one request waits in line: less than the minute after which many
#: load balancers end a silent connection.
WAIT_IN_ONE_REQUEST = 50

#: Seconds before the end of a request's wait at which the next is sent, so that
#: it has come by then.
TAKE_OVER_BEFORE = 5.0

#: Seconds after which it is tried again to send the next, if that failed.
TAKE_OVER_RETRY = 0.5

#: Seconds before the deadline at which a wait is over: the server may have begun
#: to count earlier than we did.
WAIT_TOLERANCE = 0.1

#: What a request is told whose place another took over.
SUPERSEDED = "Request was sent again and waits there."

#: Seconds for the second answer to what was granted already: it comes at once.
SECOND_ANSWER_WAIT_MAX = 1.0


def acquire(
    wanted: Wanted, connection: Connection, deadline: float, cancellation: Cancellation
) -> Grant | None:
    """The grant; ``None`` if somebody else had the lock until ``deadline``, which is
    by our clock and may be infinite.

    Raises LockUnavailableError if no server had decided ``ANSWER_WAIT_MAX`` seconds
    after that; LockAccessError or LockError if one refused; Cancelled. A grant that
    could not be learnt of or given back ends with its ttl.
    """
    while True:
        acquisition = _Acquisition(wanted, connection, deadline, cancellation)
        try:
            grant = acquisition.run()
        except LockError:
            raise
        except BaseException:
            acquisition.give_back()
            raise
        if grant is not None or not acquisition.has_lapsed or now() >= deadline:
            return grant


class _Acquisition:
    """One ``locked_by`` and one ``Idempotency-Key``."""

    def __init__(
        self, wanted: Wanted, connection: Connection, deadline: float, cancellation: Cancellation
    ) -> None:
        self._wanted = wanted
        self._server = wanted.server
        self._connection = connection
        self._deadline = deadline
        self._waits = deadline > now()
        self._cancellation = cancellation
        self._locked_by = wanted.key or secrets.token_urlsafe(24)
        self._request_key = str(uuid.uuid4())
        self._first_sent_at: float | None = None
        #: There was a grant, and it was over before anybody knew of it.
        self.has_lapsed = False

    def run(self) -> Grant | None:
        give_up_at = max(self._deadline, now()) + ANSWER_WAIT_MAX
        while True:
            answer = ask_until_decided(self._wait_in_line, give_up_at, self._cancellation)
            if answer.status == 200:
                return self._confirmed(self._granted(answer))
            if answer.error == "Resource is locked.":
                return None
            timeout_max = answer.timeout_max()
            if answer.status == 408:
                # If there is time left it had no successor, and the place is lost.
                if now() >= self._deadline - WAIT_TOLERANCE:
                    return None
            elif timeout_max:
                self._server.timeout_max = timeout_max
            elif answer.error != SUPERSEDED:
                raise answer.refusal()
            # Else by a request of ours that seemed to have failed. It left no answer.

    def give_back(self) -> None:
        """Leaves the line and releases what was granted meanwhile, if a server can
        be asked within ``ANSWER_WAIT_MAX`` seconds."""
        self._connection.close()
        if self._first_sent_at is None:
            return
        connection = Connection(self._server)
        until = now() + ANSWER_WAIT_MAX
        # A proxy may not have told the server that we left. One who waits takes over
        # our place from whoever stands there, and it ends with this request.
        seconds = 1 if self._waits else 0
        try:
            answer = ask_until_decided(lambda: self._ask(connection, seconds), until, Cancellation())
            if answer.status == 200:
                release(self._wanted, self._granted(answer), connection, until)
        except LockError:
            # It ends with its ttl.
            pass
        finally:
            connection.close()

    def _wait_in_line(self) -> Answer:
        """Asks, and waits until the deadline. Raises one of ``FAILURES``."""
        if not self._waits:
            return self._ask(self._connection, 0)
        other = Connection(self._server)
        self._cancellation.call(other.interrupt)
        try:
            return self._wait_on(self._connection, other)
        finally:
            self._cancellation.forget(other.interrupt)
            other.close()

    def _wait_on(self, current: Connection, successor: Connection) -> Answer:
        """The same by these two in turns."""
        seconds = self._seconds_to_wait()
        ends_at = self._send(current, seconds)
        while ends_at < self._deadline - WAIT_TOLERANCE:
            answer = current.answer(ends_at - min(TAKE_OVER_BEFORE, seconds / 3))
            if answer is not None:
                return answer
            try:
                seconds = self._seconds_to_wait()
                next_ends_at = self._send(successor, seconds)
            except FAILURES:
                answer = current.answer(now() + TAKE_OVER_RETRY)
                if answer is not None:
                    return answer
                continue
            # 409 at once; but if another server got the successor, this has the better
            # place until its end.
            answer = _answer_if_any(current, ends_at + ANSWER_WAIT_MAX)
            if answer is not None and answer.status == 200:
                # The successor is told the same, and a server takes back what it
                # cannot tell.
                _answer_if_any(successor, now() + SECOND_ANSWER_WAIT_MAX)
                successor.close()
                return answer
            current.close()
            current, successor, ends_at = successor, current, next_ends_at
        answer = current.answer(ends_at + ANSWER_WAIT_MAX)
        if answer is None:
            current.close()
            raise TimeoutError("the server did not answer in time")
        return answer

    def _seconds_to_wait(self) -> int:
        """Whole seconds. One at least: only who waits takes over its own place."""
        most = min(WAIT_IN_ONE_REQUEST, self._server.timeout_max or WAIT_IN_ONE_REQUEST)
        return max(1, math.ceil(min(self._deadline - now(), most)))

    def _send(self, connection: Connection, seconds: int) -> float:
        """Sends a request that waits so long; when that is over."""
        until = self._note_sent() + ANSWER_WAIT_MAX
        connection.send("PUT", self._wanted.path, self._body(seconds), self._request_key, until)
        return now() + seconds

    def _ask(self, connection: Connection, seconds: int) -> Answer:
        until = self._note_sent() + seconds + ANSWER_WAIT_MAX
        return connection.ask("PUT", self._wanted.path, self._body(seconds), self._request_key, until)

    def _note_sent(self) -> float:
        sent_at = now()
        if self._first_sent_at is None:
            self._first_sent_at = sent_at
        return sent_at

    def _body(self, seconds: int) -> dict[str, Any]:
        body: dict[str, Any] = {"locked_by": self._locked_by, "ttl": self._wanted.ttl, "timeout": seconds}
        if self._wanted.label is not None:
            body["label"] = self._wanted.label
        return body

    def _granted(self, answer: Answer) -> Grant:
        if answer.fencing_token is None or self._first_sent_at is None:
            raise LockError("the answer of the server has no Fencing-Token")
        return Grant(answer.fencing_token, self._locked_by, self._first_sent_at)

    def _confirmed(self, grant: Grant) -> Grant | None:
        """A grant that is young enough; renewed if it may not be."""
        answered_at = now()
        if answered_at - grant.since < self._wanted.renewal_interval:
            return grant
        since = answered_at

        def ask() -> Answer:
            nonlocal since
            since = now()
            return renew(self._wanted, grant, self._connection, since + ANSWER_WAIT_MAX)

        # The grant is over by then, or the caller wants to know.
        until = min(answered_at + self._wanted.trust, max(self._deadline, answered_at) + ANSWER_WAIT_MAX)
        answer = ask_until_decided(ask, until, self._cancellation)
        if answer.status == 200:
            return Grant(grant.fencing_token, grant.locked_by, since)
        if not is_lost(answer):
            raise answer.refusal()
        self.has_lapsed = True
        return None


def _answer_if_any(connection: Connection, until: float) -> Answer | None:
    with contextlib.suppress(*FAILURES):
        return connection.answer(until)
    return None
