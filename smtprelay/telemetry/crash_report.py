"""
The text for an unexpected error: one line that names where the traceback is.

Standard library only: the commands import it, too.
"""

import os
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Final

#: The exit status of such an error (``EX_SOFTWARE`` of sysexits.h).
SOFTWARE: Final = 70


def unexpected(error: BaseException | None, *, logged: bool = False) -> str:
    """
    Return the sentence. The traceback is written into a file that only this user can read.

    :param logged: the traceback is in the log, and is not written into a file.
    """
    text = " ".join(f"{type(error).__name__}: {error}".split())
    where = "the traceback in the log" if logged else _kept(error)
    return f"unexpected error: {text}; please report it with {where}"


def _kept(error: BaseException | None) -> str:
    try:
        return f"the traceback in {_written(error)}"
    except OSError:
        return "the traceback that python -X dev -m smtprelay shows"


def _written(error: BaseException | None) -> Path:
    """Write the one file of each user: repeated errors must not fill the disk."""
    descriptor, name = tempfile.mkstemp(".txt", "smtprelay-traceback-")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
        # This replaces a file or link of this user; one of another user is an error.
        return new.replace(new.with_name(f"smtprelay-traceback-{os.getuid()}.txt"))
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
