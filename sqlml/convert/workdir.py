"""The worker's temporary directory, from the outside: how full it is, and its removal whatever a model did in it."""

from __future__ import annotations

import os
from pathlib import Path

# The worker itself keeps a handful of files there.
MOST_ENTRIES = 10_000
DEEPEST = 100


def size_below(directory: Path) -> int | None:
    """Bytes in files below; None where that cannot be said: too many entries, too deep, or closed to us.

    Not os.walk, which recurses: a model can nest directories deeper than Python's stack.
    """
    total, entries, pending = 0, 0, [(str(directory), 0)]
    while pending:
        try:
            path, depth = pending.pop()
            with os.scandir(path) as found:
                for entry in found:
                    entries += 1
                    if entries > MOST_ENTRIES or depth > DEEPEST:
                        return None
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((entry.path, depth + 1))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # it was removed meanwhile
        except OSError:
            return None
    return total


def remove(directory: Path) -> None:
    """Remove it with everything in it.

    Every directory found is first moved to the top and opened, so that neither depth (shutil.rmtree recurses), nor
    the length of a path, nor a mode of 000 keeps anything alive.
    """
    count, pending = 0, [str(directory)]
    while pending:
        current = pending[-1]
        inner = []
        with os.scandir(current) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry.path)
                else:
                    os.unlink(entry.path)
        if current == str(directory) and not inner:
            os.rmdir(directory)
            return
        pending.pop()
        for path in inner:
            count += 1
            moved = path if current == str(directory) else f"{directory}/sqlml removes {count}"
            os.chmod(path, 0o700)
            os.rename(path, moved)
            pending.append(moved)
        if current != str(directory):
            os.rmdir(current)
        if not pending:
            pending.append(str(directory))
