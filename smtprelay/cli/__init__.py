"""
The command ``smtprelay``: a client of the relay's own API.

It starts fast: each command is imported when it is asked for, and only those that need one import a reactor.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence

from smtprelay.program import LINKS, called


def main(argv: Sequence[str] | None = None) -> int:
    """
    Carry out ``argv`` (by default the command line) and return the exit status.

    An error is one line on stderr; :mod:`smtprelay.cli.exit_codes` has the statuses.
    """
    if argv is None and called() in LINKS:
        argv = [called(), *sys.argv[1:]]
    if "run" in (sys.argv if argv is None else argv):
        # SIGHUP must not end a relay that is still being imported, which takes a second.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Here, so that ``import smtprelay.cli`` costs nothing.
    from smtprelay.cli import app, exit_codes  # noqa: PLC0415
    from smtprelay.cli.text import printable  # noqa: PLC0415

    # A character that the terminal cannot show is replaced.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status = app.invoke(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (``| head``); without this Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.FAILED
    except exit_codes.CliError as error:
        print(f"{called()}: {printable(error)}", file=sys.stderr)  # noqa: T201
        return error.status
    return status
