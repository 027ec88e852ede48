"""
The disk and the clock of one process, in a test's hand; see ``shim.c``, which is compiled for it by ``cc``.
"""

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

#: The kinds of calls that can fail.
WRITES, SYNCS, SIZES, READS = 1, 2, 4, 8

_ORDERS: Final = struct.Struct("=iiiiq")


class Shim:
    """
    The orders to a process that is started with :attr:`environ`.

    :ivar environ: what makes a process obey.
    """

    def __init__(self, folder: Path, spool: Path) -> None:
        library, orders = folder / "shim.so", folder / "orders"
        source = Path(__file__).with_name("shim.c")
        command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
        orders.write_bytes(bytes(_ORDERS.size))
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAULTS": str(orders),
            "FAULTS_FOLDER": f"{spool.resolve()}/",
        }
        with orders.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), _ORDERS.size)

    @property
    def failed(self) -> int:
        """How many calls have failed."""
        return int(_ORDERS.unpack(self._mapped)[3])

    def fail(self, error: int, permille: int, kinds: int = WRITES | SYNCS | SIZES) -> None:
        """Have so many of a thousand calls fail with ``error``."""
        struct.pack_into("=iii", self._mapped, 0, error, permille, kinds)

    def heal(self) -> None:
        """Have none fail any more."""
        self.fail(0, 0, 0)

    def put_clock(self, seconds: int) -> None:
        """Put the wall clock forward by ``seconds`` from the real time; negative is back."""
        struct.pack_into("=q", self._mapped, 16, seconds)
