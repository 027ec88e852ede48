"""
Why the relay does not start: one line that says what happened, where, and what to do.
"""

import errno
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from socket import gaierror
from typing import Final

from twisted.internet.defer import CancelledError
from twisted.internet.error import CannotListenError

from smtprelay.interfaces import Events
from smtprelay.model.network import host_and_port
from smtprelay.net.certificate import CertificateError
from smtprelay.spool.engines.sqlite_lock import SpoolBusy
from smtprelay.spool.engines.transaction import SpoolFault
from smtprelay.telemetry.crash_report import SOFTWARE, unexpected
from smtprelay.telemetry.log_format import flattened

#: Exit statuses of sysexits.h, which service managers and scripts know.
UNAVAILABLE: Final = 69
NO_PERMISSION: Final = 77
CONFIG: Final = 78
CANNOT_CREATE: Final = 73


class StartFailed(Exception):  # noqa: N818 -- it says what happened
    """
    The relay could not start; nothing of it is left open.

    :ivar status: the exit status that says so to a service manager.
    """

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


def explain(error: Exception, own: Collection[int] = ()) -> Exception:
    """
    Return :class:`StartFailed` for what an operator can correct, and any other error as it is.

    :param own: the ports at which this relay listens.
    """
    match error:
        case StartFailed():
            return error
        case CannotListenError():
            return _cannot_listen(error, own)
        case SpoolBusy():
            known = str(error), UNAVAILABLE
        case SpoolFault():
            known = f"the spool cannot be used: {error}", CANNOT_CREATE
        case CertificateError():
            known = str(error), CONFIG
        case PermissionError():
            known = f"{error.filename}: {error.strerror}", NO_PERMISSION
        case OSError():
            known = f"{error.filename or 'the spool'}: {error.strerror}", CANNOT_CREATE
        case _:
            return error
    return StartFailed(*known)


def tell_failed(events: Events, error: Exception) -> str:
    """
    Log that the relay does not start because of ``error``; an unexpected one with its traceback.

    :return: why the relay stops.
    """
    if isinstance(error, CancelledError):
        return "requested, before it was ready"
    if isinstance(error, StartFailed):
        events("relay.failed", reason=str(error), status=error.status)
    else:
        reason = f"unexpected error: {type(error).__name__}: {error}"
        events("relay.failed", reason=reason, status=SOFTWARE, exc=flattened(error))
    return "it cannot start"


@contextmanager
def exit_with_status() -> Iterator[None]:
    """Turn any error into one line on the standard error, and an exit status."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 -- a person reads it
        failure = explain(error)
        known = isinstance(failure, StartFailed)
        sys.stderr.write(f"smtprelay: {failure if known else unexpected(error)}\n")
        raise SystemExit(failure.status if isinstance(failure, StartFailed) else SOFTWARE) from None


def _cannot_listen(error: CannotListenError, own: Collection[int]) -> StartFailed:
    port = error.port
    where = host_and_port(error.interface or "*", port) if isinstance(port, int) else _path(port)
    number = getattr(error.socketError, "errno", None)
    if number == errno.EADDRINUSE and port in own:
        text = "this relay itself listens on that port: the endpoint changes when the relay is restarted"
        return StartFailed(f"{where}: {text}", UNAVAILABLE)
    if number == errno.EADDRINUSE:
        return StartFailed(f"{where} is in use by another program: stop it, or listen elsewhere", UNAVAILABLE)
    if number == errno.EACCES and not isinstance(port, int):
        return StartFailed(
            f"{where}: permission denied: choose a path in a folder that the relay's user can write to",
            NO_PERMISSION,
        )
    if number == errno.EACCES:
        return StartFailed(
            f"{where}: no right to listen on a port below 1024: use a higher port, or give the"
            " process CAP_NET_BIND_SERVICE",
            NO_PERMISSION,
        )
    if number == errno.EADDRNOTAVAIL or isinstance(error.socketError, gaierror):
        return StartFailed(
            f"{where}: interface must be an address of this machine, such as 127.0.0.1", UNAVAILABLE
        )
    return StartFailed(f"{where}: {error.socketError}", UNAVAILABLE)


def _path(socket: object) -> str:
    """Return the path of a UNIX socket, which Twisted gives as bytes."""
    return os.fsdecode(socket) if isinstance(socket, bytes) else str(socket)
