"""
The exit statuses of the command, and the error that carries one.

From 64 on they are those of ``sysexits.h``.
"""

from typing import Final

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
EX_USAGE: Final = 64
UNAVAILABLE: Final = 69
SOFTWARE: Final = 70
CANNOT_USE: Final = 73
TEMPFAIL: Final = 75
PERMISSION: Final = 77
CONFIG: Final = 78


class CliError(Exception):
    """
    Ends a command with one sentence for the operator.

    :ivar status: the exit status.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
