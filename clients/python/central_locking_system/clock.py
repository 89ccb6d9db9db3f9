"""The clock by which locks end."""

import time

__all__ = ["now"]

# CLOCK_BOOTTIME goes on while the machine sleeps, and so does CLOCK_MONOTONIC of
# macOS. That of Linux, which is time.monotonic(), stands still: a lock would
# seem to hold after the machine woke up. Windows has neither, and a
# time.monotonic() that goes on.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def now() -> float:
    """Seconds since some moment; never set, and it counts sleep."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
