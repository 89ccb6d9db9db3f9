"""The examples of README.md, as they stand there."""

import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

from .support import ServerTest


class ReadmeTest(ServerTest):
    def test_its_examples_run(self) -> None:
        text = (Path(__file__).parent.parent / "README.md").read_text()
        examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        written: list[int] = []

        def write_page(page: int, fencing_token: int) -> None:
            self.assertTrue(self.server.look("nightly-report")["locked"])
            written.append(page)

        known: dict[str, Any] = {"write_page": write_page, "stop": self.fail}
        with mock.patch.dict(os.environ, {"CLS_URL": self.server.url}):
            for example in examples:
                exec(compile(example, "README.md", "exec"), dict(known))

        self.assertEqual((len(examples), written), (3, [0, 1, 2, 0, 0]))
        self.assertFalse(self.server.look("nightly-report")["locked"])
