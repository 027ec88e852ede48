"""
What every measure needs: a folder, how long to measure, and a name for each size.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import field, frozen

from bench.load import Load

#: Messages in one round, by size.
SIZES: Final = {10_000: 3000, 100_000: 1000, 5_000_000: 40}


@frozen(kw_only=True)
class Workplace:
    """
    :ivar folder: on the disk that is measured; everything lies in it, and it goes away.
    :ivar quick: a tenth of the work, to see whether it runs; its figures mean little.
    """

    folder: Path
    rounds: int
    quick: bool = False
    _names: list[str] = field(factory=list)

    def place(self, name: str) -> Path:
        """Return a new folder."""
        self._names.append(name)
        folder = self.folder / f"{len(self._names)}-{name}"
        folder.mkdir()
        return folder

    def scaled(self, count: int) -> int:
        """Return ``count``, or a tenth of it when it shall be quick."""
        return max(10, count // 10) if self.quick else count

    def load(self, size: int, sessions: int = 10) -> Load:
        """Return the usual load of this size."""
        return Load(size, max(self.scaled(SIZES[size]), sessions), sessions)


@contextmanager
def workplace(parent: str | None, rounds: int, *, quick: bool) -> Iterator[Workplace]:
    """Give a workplace; its folder is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="smtprelay-bench-", dir=parent) as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's own user goes through it
        yield Workplace(folder=folder, rounds=rounds, quick=quick)


def spelled(size: int) -> str:
    """Return ``10 KB`` for 10000."""
    return f"{size // 1000} KB" if size < 1_000_000 else f"{size // 1_000_000} MB"
