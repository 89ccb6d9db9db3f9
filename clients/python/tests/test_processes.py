"""What becomes of a lock when its process is interrupted or ends."""

import os
import signal
import subprocess
import sys

from .support import ServerTest, Wire, eventually

WAIT = """
import sys, time
from central_locking_system import Lock
with Lock(sys.argv[1], url=sys.argv[2], ttl=600):
    print("held", flush=True)
    time.sleep(60)
"""

LEAVE = """
import sys
from central_locking_system import Lock
assert Lock(sys.argv[1], url=sys.argv[2], ttl=1).acquire()
"""


class ProcessTest(ServerTest):
    def start(self, program: str, url: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", program, self.name, url], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def test_who_is_interrupted_while_it_waits_leaves_the_line(self) -> None:
        wire = Wire(self.server)
        self.addCleanup(wire.close)
        self.server.hold(self.name)
        for url in (self.server.url, wire.url):
            process = self.start(WAIT, url)
            self.server.until_waiting(self.name, 1)

            process.send_signal(signal.SIGINT)

            self.assertEqual(process.wait(), -signal.SIGINT)
            self.assertEqual(self.server.look(self.name)["waiters"], 0)

    def test_who_is_interrupted_while_it_holds_the_lock_releases_it(self) -> None:
        process = self.start(WAIT, self.server.url)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), "held\n")

        process.send_signal(signal.SIGINT)

        self.assertEqual(process.wait(), -signal.SIGINT)
        self.require_free()

    def test_a_process_that_ends_leaves_the_lock_to_end_with_its_ttl(self) -> None:
        self.assertEqual(self.start(LEAVE, self.server.url).wait(), 0)

        eventually("it ends", lambda: not self.server.look(self.name)["locked"])

    def test_a_child_of_fork_holds_nothing(self) -> None:
        with self.lock() as lock:
            child = os.fork()
            if child == 0:
                is_held = lock.locked() or lock.owned()
                is_had = lock.acquire(blocking=False)
                os._exit(1 if is_held or is_had else 0)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            lock.check()
            lock.renew()
