"""How much a bottle's volumes hold, where no descriptor of them can be had: a container of our own beside the bottle's looks.

It is started when first asked, long after the launch, by `reader`'s words and with the program of `disk_usage`, and then
asked again and again over its client. It ends with that, which ends with the keeper; it carries the bottle's labels like
everything else. Where it ends, or does not answer, it is started once more before nobody can tell.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import disk_usage
from claude_bottle.backend.docker import gate_container, owners, reader
from claude_bottle.errors import BottleError
from claude_bottle.redact import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.proc import Popen

# For files without number on a slow disk.
ANSWER_SECONDS = 600.0
# To end once its stdin has.
_END_SECONDS = 10.0
_GLANCE, _LINE, _SAID = 0.2, 64, 4096


class VolumeUsage(disk_usage.Usage):
    """Of the volumes of `identity` beside `places` of this host. As `Usage`, but `held` may raise BottleError."""

    def __init__(self, places: Sequence[disk_usage.Place], most: int, engine: Engine, owner: str, identity: str) -> None:
        super().__init__(places, most)
        self._engine, self._owner, self._identity = engine, owner, identity
        self._container: _Container | None = None

    def held(self) -> int:
        here = super().held()
        try:
            return here + self._ask()
        except BottleError:
            if self.stopped:
                return here
        return here + self._ask()

    def close(self) -> None:
        super().close()
        self._end()

    def _ask(self) -> int:
        try:
            if self._container is None:
                self._container = self._begin()
            return self._container.ask(lambda: self.stopped)
        except BottleError:
            self._end()
            raise

    def _begin(self) -> _Container:
        meeting = gate_container.name_of(self._identity)  # which it may only read
        found = owners.find(self._engine, self._owner, self._identity).volumes
        volumes = sorted(volume for volume in found if volume != meeting)
        if not volumes:
            raise BottleError("the bottle's volumes are gone")
        labels = reader.labels_of(self._engine, volumes[0])
        name = f"{owners.container_name(self._identity)}-usage-{os.urandom(4).hex()}"
        program = Path(disk_usage.__file__).read_text()
        image = reader.image(self._engine, labels)
        words = reader.run_words(name, volumes, labels, image, program, str(self._most), asked=True)
        return _Container(self._engine, name, words)

    def _end(self) -> None:
        if self._container is not None:
            self._container.end()
            self._container = None


class _Container:
    """One that runs `words`, and the client that it is talked to by."""

    def __init__(self, engine: Engine, name: str, words: Sequence[str]) -> None:
        self._engine, self._name, self._busy = engine, name, False
        self._errors = os.memfd_create("client")
        try:
            self._client: Popen[bytes] = engine.popen(words, stdin=-1, stdout=-1, stderr=self._errors, bufsize=0)
            self._ended = os.pidfd_open(self._client.pid)
        except BaseException:
            os.close(self._errors)
            raise

    def ask(self, stopped: Callable[[], bool]) -> int:
        """What it counts. BottleError when it has ended, does not answer in time or answers nonsense, or who asks has
        `stopped`."""
        said, self._busy = b"", True
        with contextlib.suppress(OSError):
            said = self._hear(stopped)
        if not said.endswith(b"\n") or not said[:-1].isdigit():
            words = os.pread(self._errors, _SAID, 0).decode(errors="replace").strip().splitlines()
            why = printable(words[-1] if words else "what looks at them does not answer", width=400)
            raise BottleError("nobody can tell how much the bottle's volumes hold", why=why)
        self._busy = False
        return int(said)

    def _hear(self, stopped: Callable[[], bool]) -> bytes:
        if self._client.stdin is None or self._client.stdout is None:
            raise BottleError("nobody can tell how much the bottle's volumes hold")
        said, until = b"", time.monotonic() + ANSWER_SECONDS
        self._client.stdin.write(b".")
        while len(said) < _LINE and not said.endswith(b"\n") and not stopped() and time.monotonic() < until:
            if select.select([self._client.stdout], [], [], _GLANCE)[0]:
                piece = self._client.stdout.read(_LINE)
                if not piece:
                    break
                said += piece
        return said

    def end(self) -> None:
        """Make sure that it has. One that counts does not hear that it should."""
        for stream in (self._client.stdin, self._client.stdout):
            if stream:
                stream.close()
        if self._busy or not select.select([self._ended], [], [], _END_SECONDS)[0]:
            self._engine.run(["rm", "--force", "--", self._name], check=False)
            if not select.select([self._ended], [], [], _END_SECONDS)[0]:
                self._client.kill()
        self._client.wait()
        os.close(self._ended)
        os.close(self._errors)
