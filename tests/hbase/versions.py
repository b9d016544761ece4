"""Files that say what they are: whoever reads one knows which version of which file it must be, to the byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass

BLOCK = 4096


@dataclass(frozen=True)
class Version:
    """What one writer wrote as its `number`th version of a file; one of 0 bytes cannot say so."""

    path: str
    writer: str
    number: int
    size: int

    def content(self) -> bytes:
        """A line that names the version, then blocks of which each belongs to this version and place only."""
        if self.size == 0:
            return b""
        line = json.dumps(astuple(self)).encode() + b"\n"
        if len(line) > self.size:
            raise ValueError(f"{self.size} bytes are too few for {line!r}")
        missing = self.size - len(line)
        blocks = (_block(line, number) for number in range(-(-missing // BLOCK)))
        return line + b"".join(blocks)[:missing]


def version_in(content: bytes) -> Version:
    """The version that `content` is. Raises AssertionError when it is none, not all of one, or a mixture."""
    line = content[:BLOCK].partition(b"\n")[0]
    try:
        version = Version(*json.loads(line))
    except (ValueError, TypeError):
        raise AssertionError(f"{len(content)} bytes that begin with {content[:80]!r} are no version") from None
    assert content == version.content(), f"{len(content)} bytes are not the {version} that they say they are"
    return version


def _block(line: bytes, number: int) -> bytes:
    return hashlib.sha256(b"%d " % number + line).digest() * (BLOCK // 32)
