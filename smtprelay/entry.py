"""
Where the relay begins that no command starts: under ``twistd``, by its plugin, and as another's worker.

To import the rest takes a second, in which a SIGHUP for all processes shall not end it: from here to
:func:`smtprelay.service.signals.at_hangup` it does nothing.
"""

import signal
import sys

signal.signal(signal.SIGHUP, signal.SIG_IGN)

from smtprelay.service import Options, makeService  # noqa: E402 -- see above

__all__ = ["Options", "makeService"]

if __name__ == "__main__":
    from smtprelay.service.errors import exit_with_status
    from smtprelay.service.workers.worker import run_worker

    with exit_with_status():
        sys.exit(run_worker(sys.argv[1:]))
