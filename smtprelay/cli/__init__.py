"""
``smtprelay``, the command: what an operator types at the relay.

It is a thin client of the relay's own API, and it starts fast: the commands are
imported one by one, when they are asked for, and none but ``run`` and ``demo``
imports a reactor.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """
    Carry out ``argv`` (the command line by default) and return the exit status.

    Whatever goes wrong is one line on stderr; see :mod:`smtprelay.cli.exit_codes` for the status.
    """
    if "run" in (sys.argv if argv is None else argv):
        # Until the relay has a use for it: to import that takes a second.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # Here, so that ``import smtprelay.cli`` costs nothing.
    from smtprelay.cli import app, exit_codes  # noqa: PLC0415
    from smtprelay.cli.text import printable  # noqa: PLC0415

    # A terminal that cannot show a character shall show another one, not an error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        status = app.invoke(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Somebody reads no further (``| head``); Python would complain once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exit_codes.FAILED
    except exit_codes.CliError as error:
        print(f"smtprelay: {printable(error)}", file=sys.stderr)  # noqa: T201
        return error.status
    return status
