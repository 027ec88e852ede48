"""
How the command ends: the exit statuses, and the error that carries one.

From 64 on they are those of ``sysexits.h``, which init systems and scripts around
mail know.
"""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
CANNOT_USE: Final = 73
TEMPFAIL: Final = 75
PERMISSION: Final = 77
CONFIG: Final = 78


class CliError(Exception):
    """
    The end of a command: an exit status and one sentence for the person.

    :ivar status: one of this module's numbers.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
