"""
For commands that ask the network themselves: a reactor while they do, and which DNS server is asked.
"""

from collections.abc import Callable, Coroutine
from ipaddress import ip_address
from typing import Any, Final, TypeVar

import click

from smtprelay.cli.exit_codes import USAGE, CliError

_DNS_PORT: Final = 53

_T = TypeVar("_T")

nameserver_option: Final = click.option(
    "--nameserver",
    metavar="ADDRESS[:PORT]",
    help="The DNS server to ask, such as one of the domain's own; default: that of this machine.",
)


def name_server(text: str | None) -> tuple[str, int] | None:
    """Return address and port; a colon in an IPv6 address belongs to it, unless it is in brackets."""
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    try:
        if not colon or (":" in host and not host.startswith("[")):
            return str(ip_address(text.strip("[]"))), _DNS_PORT
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise CliError(USAGE, f'"{text}" is no IP address, nor one with a port') from None


def run_reactor(work: Callable[[Any], Coroutine[Any, Any, _T]]) -> _T:
    """Run a reactor until ``work`` is done, and return what it returns."""
    from twisted.internet import reactor  # noqa: PLC0415 -- it is installed by that
    from twisted.internet.defer import Deferred  # noqa: PLC0415
    from twisted.python.failure import Failure  # noqa: PLC0415

    ended: list[Any] = []
    loop: Any = reactor

    def begin() -> None:
        working = Deferred.fromCoroutine(work(loop)).addBoth(ended.append)
        # Sockets that are being closed are closed in the next turn.
        working.addBoth(lambda _: loop.callLater(0, loop.stop))

    loop.callWhenRunning(begin)
    loop.run()
    if not ended:
        raise click.Abort
    if isinstance(ended[0], Failure):
        ended[0].raiseException()
    result: _T = ended[0]
    return result
