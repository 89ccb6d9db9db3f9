"""One server and the connections to it: a request goes out, an answer comes.

On ``http.client``. What it lacks is here: to wait for an answer and go on
waiting when that took too long, and to be interrupted by another thread.
"""

import http.client
import io
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from .clock import now
from .errors import LockAccessError, LockError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["FAILURES", "Answer", "Cancellation", "Cancelled", "Connection", "Server"]

#: What becomes of a request when the network or the server fails.
FAILURES = (OSError, http.client.HTTPException)

#: Seconds that the other side may take for a step: to accept a connection, to go
#: on with an answer.
STEP_WAIT_MAX = 5.0

#: Seconds after which a kept connection is not used again, because somebody on
#: the way may have closed it. The server keeps it for 60, by default.
IDLE_MAX = 20.0

#: Seconds. 0 would be another mode of a socket.
TIMEOUT_MIN = 0.001

#: Seconds after which a silent server's machine is asked whether it is there,
#: and between two such questions. After the third without an answer the
#: connection is given up, so that nobody waits for a machine that is gone.
KEEPALIVE_INTERVAL = 15

#: Characters of an answer that an error shows.
SHOWN_CHARS_MAX = 200


class Cancelled(BaseException):
    """The caller does not want it any more. Never leaves this package."""


class Cancellation:
    """Ends from one thread what another does."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._mutex = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Interrupts what is going on, and what begins later."""
        with self._mutex:
            self._cancelled.set()
            for callback in self._callbacks:
                callback()

    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def require_not(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def pause(self, seconds: float) -> None:
        """Sleeps, if it is not cancelled."""
        self._cancelled.wait(seconds)
        self.require_not()

    def call(self, callback: Callable[[], None]) -> None:
        """Calls it when this is cancelled, in that thread; at once if it is."""
        with self._mutex:
            self._callbacks.append(callback)
            if self._cancelled.is_set():
                callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Afterwards it is not called any more."""
        with self._mutex:
            self._callbacks.remove(callback)


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    fencing_token: int | None
    #: Seconds.
    retry_after: float | None
    #: Parsed JSON; ``None`` if it was something else, as from a proxy.
    body: Any

    @property
    def error(self) -> str | None:
        """The reason of a refusal that is one of the contract's."""
        return self.body.get("Error") if isinstance(self.body, dict) else None

    @property
    def is_decided(self) -> bool:
        """Whether it makes no sense to ask the same again."""
        if self.status == 408:
            # Else it is about a request that came too slowly.
            return self.error is not None
        return self.status != 429 and self.status < 500

    def timeout_max(self) -> int | None:
        """The longest timeout that the server accepts, if this refuses a longer one."""
        messages = self.body.get("timeout", []) if isinstance(self.body, dict) and self.status == 400 else []
        for message in messages:
            found = re.search(r"less than or equal to (\d+)", str(message))
            if found:
                return int(found[1])
        return None

    def describe(self) -> str:
        if isinstance(self.body, dict):
            said = self.error or self.body.get("detail") or json.dumps(self.body, ensure_ascii=False)
            return f"{self.status}: {said}"[:SHOWN_CHARS_MAX]
        return f"{self.status} {http.client.responses.get(self.status, '')}".rstrip()

    def refusal(self) -> LockError:
        return (LockAccessError if self.status in (401, 403) else LockError)(self.describe())


class Server:
    """Where the server is, and how it is asked."""

    def __init__(
        self,
        url: str | None,
        token: str | None,
        ca_file: str | None,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        url = os.environ.get("CLS_URL") or "http://127.0.0.1:8000" if url is None else url
        token = os.environ.get("CLS_TOKEN") or None if token is None else token
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError("url is not the URL of a server") from None
        # The URL may have a password in it, so none of these shows it.
        if parts.scheme not in ("http", "https") or not self._host:
            raise ValueError("url must begin with http:// or https:// and a host")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("url must have no user, query or fragment; a token is given as token")
        if ca_file is not None and ssl_context is not None:
            raise ValueError("give ca_file or ssl_context, not both")
        if parts.scheme == "http" and (ca_file is not None or ssl_context is not None):
            raise ValueError("ca_file and ssl_context need a URL that begins with https://")
        # http.client would show it in its own error.
        if token is not None and not re.fullmatch(r"[!-~]+", token):
            raise ValueError("token must be of printable ASCII characters without blanks")
        self._prefix = parts.path.rstrip("/")
        self._ssl_context = None
        if parts.scheme == "https":
            self._ssl_context = ssl_context or ssl.create_default_context(cafile=ca_file)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Token {token}"
        #: Seconds of the longest timeout that it accepts, as far as is known.
        self.timeout_max: int | None = None

    def __repr__(self) -> str:
        scheme = "http" if self._ssl_context is None else "https"
        port = "" if self._port is None else f":{self._port}"
        return f"<Server {scheme}://{self._host}{port}{self._prefix}>"

    def path(self, name: str) -> str:
        # Below /resources/ there are no names with slashes.
        return f"{self._prefix}/locks/{quote(name, safe='')}/"

    def headers(self, key: str | None) -> dict[str, str]:
        return self._headers if key is None else {**self._headers, "Idempotency-Key": key}

    def connect(self, patience: float) -> http.client.HTTPConnection:
        """A connection that is not made yet, and then within so many seconds."""
        patience = max(patience, TIMEOUT_MIN)
        if self._ssl_context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=patience)
        return http.client.HTTPSConnection(self._host, self._port, timeout=patience, context=self._ssl_context)


class Connection:
    """One connection at a time, made when it is needed and made anew after a
    failure. For one thread at a time; :meth:`interrupt` is for others.

    Every instant is by ``clock.now``.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http: http.client.HTTPConnection | None = None
        self._socket: _Socket | None = None
        self._answered_at = 0.0
        self._mutex = threading.Lock()
        self._is_interrupted = False

    def ask(self, method: str, path: str, body: dict[str, Any], key: str | None, until: float) -> Answer:
        """The answer to a request.

        Raises one of ``FAILURES``; TimeoutError if no answer came in time.
        """
        self.send(method, path, body, key, until)
        answer = self.answer(until)
        if answer is None:
            self.close()
            raise TimeoutError("the server did not answer in time")
        return answer

    def send(self, method: str, path: str, body: dict[str, Any], key: str | None, until: float) -> None:
        """Sends a request. Raises one of ``FAILURES``."""
        if now() - self._answered_at > IDLE_MAX:
            self.close()
        try:
            http_connection, connected = self._connected(until)
            connected.set_timeout(until)
            http_connection.request(method, path, json.dumps(body), self._server.headers(key))
        except BaseException:
            self.close()
            raise

    def answer(self, until: float) -> Answer | None:
        """The answer to what was sent; ``None`` if none has begun by then, and it
        can be asked for again. Raises one of ``FAILURES``."""
        if self._http is None or self._socket is None:
            raise http.client.NotConnected
        try:
            if not self._socket.has_answer(until):
                return None
            # The rest of it comes with its first byte.
            self._socket.set_timeout(now() + STEP_WAIT_MAX)
            response = self._http.getresponse()
            text = response.read()
        except BaseException:
            self.close()
            raise
        self._answered_at = now()
        if response.will_close:
            self.close()
        return Answer(
            response.status,
            _number(response.headers.get("Fencing-Token")),
            _number(response.headers.get("Retry-After")),
            _parsed(text),
        )

    def close(self) -> None:
        """Ends the connection; the next request makes another."""
        with self._mutex:
            closing, self._http, self._socket = self._http, None, None
        if closing is not None:
            closing.close()

    def interrupt(self) -> None:
        """Ends what another thread does here, for good: it gets an OSError."""
        with self._mutex:
            self._is_interrupted = True
            if self._socket is not None:
                self._socket.shutdown()

    def _connected(self, until: float) -> "tuple[http.client.HTTPConnection, _Socket]":
        if self._http is None or self._socket is None:
            made = self._server.connect(min(until - now(), STEP_WAIT_MAX))
            made.connect()
            connected = _Socket(made.sock)
            # It calls what we have of it: sendall, makefile, close.
            made.sock = connected
            with self._mutex:
                self._http, self._socket = made, connected
        with self._mutex:
            if self._is_interrupted:
                raise ConnectionAbortedError("interrupted")
        return self._http, self._socket


class _Socket:
    """The socket of an ``HTTPConnection``. The file that it reads answers from is
    of no use after a timeout; so the first byte is waited for here."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._first = b""
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Where these are missing the system's own intervals hold, which are hours.
        for option, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_INTERVAL),
            ("TCP_KEEPALIVE", KEEPALIVE_INTERVAL),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
            ("TCP_KEEPCNT", 3),
        ):
            if hasattr(socket, option):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def has_answer(self, until: float) -> bool:
        """Whether an answer has begun by then. Raises ConnectionError at the end of
        the connection."""
        self.set_timeout(until)
        try:
            self._first = self._socket.recv(1)
        except TimeoutError:
            return False
        if not self._first:
            raise http.client.RemoteDisconnected("the server closed the connection without an answer")
        return True

    def set_timeout(self, until: float) -> None:
        self._socket.settimeout(max(until - now(), TIMEOUT_MIN))

    def shutdown(self) -> None:
        try:
            # Not that of TLS, which is not for two threads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            # The server ended it before.
            pass

    def sendall(self, data: bytes) -> None:
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        first, self._first = self._first, b""
        return io.BufferedReader(_Resumed(first, self._socket.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._socket.close()


class _Resumed(io.RawIOBase):
    """What has been read of a file, and the rest."""

    def __init__(self, first: bytes, rest: socket.SocketIO) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        if not self._first:
            return self._rest.readinto(buffer)
        memoryview(buffer)[: len(self._first)] = self._first
        length, self._first = len(self._first), b""
        return length

    def close(self) -> None:
        self._rest.close()
        super().close()


def _number(text: str | None) -> int | None:
    # Retry-After may be a date, from a proxy; the pause then is our own.
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
