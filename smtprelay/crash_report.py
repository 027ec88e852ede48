"""
What a person is told of an error that nobody foresaw: one line, and where its traceback is.

Standard library only: the commands import it, too.
"""

import os
import tempfile
import traceback
from typing import Final

#: The exit status of such an error (``EX_SOFTWARE`` of sysexits.h).
SOFTWARE: Final = 70


def unexpected(error: BaseException | None) -> str:
    """Return the sentence; the traceback is put into a new file, which only its user can read."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"unexpected error: {said}; please report it with {_kept(error)}"


def _kept(error: BaseException | None) -> str:
    try:
        descriptor, path = tempfile.mkstemp(".txt", "smtprelay-traceback-")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return "the traceback that python -X dev -m smtprelay shows"
    return f"the traceback in {path}"
