"""
A new file that gets its name only when it is complete, and replaces no other file.
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
    Give a stream to ``FILE.part``, which only its owner can read; it is renamed when the block ends well.

    :raises CliError: ``FILE.part`` exists, or ``file`` exists and must not be overwritten, or is a device.
    """
    unfinished = Path(f"{file}.part")
    # A rename would replace a device or a pipe by a file, for everybody on the machine.
    if file.exists() and not file.is_file():
        raise CliError(FAILED, f"{file} is not a regular file: give another name, or - for stdout")
    if not overwrite:
        check_new(file)
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        told = "another export is writing it; if none is running, remove the file"
        raise CliError(FAILED, f"{unfinished} exists: {told}") from None
    except OSError as error:
        status = PERMISSION if isinstance(error, PermissionError) else CANNOT_USE
        raise CliError(status, f"{file} cannot be created in {file.parent}: {error.strerror}") from error
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
    """Rename by a hard link, which replaces no file that was created meanwhile, where there are links."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise _exists(file) from None
    except OSError:
        check_new(file)
        unfinished.rename(file)


def _exists(file: Path) -> CliError:
    return CliError(FAILED, f"{file} exists: --overwrite replaces it, but not with --move")
