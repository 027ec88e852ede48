"""
Entry point for twistd and workers.

Importing the rest takes a second. A SIGHUP in that time must not end the process, so it is ignored until
:func:`smtprelay.service.signals.at_hangup`. No garbage is collected meanwhile: there is none, and
looking for it takes a tenth of that time.
"""

import gc
import signal
import sys

signal.signal(signal.SIGHUP, signal.SIG_IGN)
gc.disable()

from smtprelay.service import Options, makeService  # noqa: E402 -- see above

gc.enable()

__all__ = ["Options", "makeService"]

if __name__ == "__main__":
    from smtprelay.service.errors import exit_with_status
    from smtprelay.service.workers.worker import run_worker

    with exit_with_status():
        sys.exit(run_worker(sys.argv[1:]))
