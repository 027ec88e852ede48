"""
A file that has its name only when it is whole, and takes nobody else's.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from smtprelay.cli.exit_codes import CANNOT_USE, FAILED, PERMISSION, CliError


@contextmanager
def new_file(file: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """
    Give what writes to ``FILE.part``, for our eyes only; when the block has ended well, that is renamed.

    :raises CliError: if somebody else writes it, or ``file`` exists and is not to be overwritten, or is none.
    """
    unfinished = Path(f"{file}.part")
    # A rename would replace a device or a pipe by a file, for everybody on the machine.
    if file.exists() and not file.is_file():
        raise CliError(FAILED, f"{file} is no file: name another one, or - for the standard output")
    if not overwrite:
        check_new(file)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        told = "another export writes it; if none runs, one was broken off: remove the file"
        raise CliError(FAILED, f"{unfinished} exists: {told}") from None
    except OSError as error:
        status = PERMISSION if isinstance(error, PermissionError) else CANNOT_USE
        raise CliError(status, f"{file} cannot be made in {file.parent}: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as stream:  # noqa: PTH123 -- a descriptor
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if overwrite:
            unfinished.rename(file)
        else:
            _give_new_name(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


def check_new(file: Path) -> None:
    """Raise :class:`CliError` if ``file`` exists."""
    if file.exists():
        raise _exists(file)


def _give_new_name(unfinished: Path, file: Path) -> None:
    """Unlike a rename a link replaces nothing that has come meanwhile; not every file system has links."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise _exists(file) from None
    except OSError:
        check_new(file)
        unfinished.rename(file)


def _exists(file: Path) -> CliError:
    return CliError(FAILED, f"{file} exists already: --overwrite replaces it, but not with --move")
