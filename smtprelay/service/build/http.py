"""
The HTTP sites of a configuration, and the control socket of the command line.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from smtprelay.config.model import Config
from smtprelay.policy.password_hash import parse_hash
from smtprelay.service.ports import HttpPort, Ports
from smtprelay.web.auth import Access, Token
from smtprelay.web.context import Sources
from smtprelay.web.refused import record_route
from smtprelay.web.site import PARTS, Parts, build_site


@frozen
class HttpSites:
    """
    All sites of a relay.

    :param worker: its control socket is for the supervisor.
    """

    _ports: Ports
    _defer_to_thread: Callable[..., Any]
    _worker: bool = False

    @property
    def addresses(self) -> Mapping[str, Any]:
        """Where sites are served, by name."""
        return self._ports.addresses

    async def show(self, config: Config, sources: Sources, parts: Parts = PARTS) -> None:
        """Serve ``parts`` of ``sources`` from now on; raises as :meth:`Ports.open`."""
        control = control_site(config, sources, parts, worker=self._worker)
        sites = [*http_sites(config, sources, self._defer_to_thread, parts), control]
        await self._ports.open(sites)
        await self._ports.keep(sites)


def http_sites(
    config: Config, sources: Sources, defer_to_thread: Callable[..., Any], parts: Parts
) -> Sequence[HttpPort]:
    """Return the configured sites; one without ``tokens`` answers only to its own machine."""
    ports = []
    for number, site in enumerate(config.http, start=1):
        access = Access(
            sources.clock,
            tokens=[Token(name=each.name, hash=each.hash, role=each.role) for each in site.tokens],
            verify=partial(defer_to_thread, _fits),
            hosts=[config.hostname],
        )
        ports.append(
            HttpPort(
                name=f"http{number}",
                endpoint=site.endpoint,
                site=build_site(site.serve, sources, access, parts, mask=config.privacy.mask),
            )
        )
    return ports


def control_site(config: Config, sources: Sources, parts: Parts, *, worker: bool) -> HttpPort:
    """
    Return the control socket, which serves everything to each user who may open the file.

    :param worker: only the supervisor uses it, and says who asks.
    """
    mode = 600 if worker else 660
    if worker:
        parts = {**parts, "refusals": lambda sources: [record_route(sources.refusals)]}
    access = Access(sources.clock, control=True, admitted=worker)
    # Twisted's own lock holds a process id: a container that was killed comes back with the same one.
    quoted = config.control_socket.replace("\\", "\\\\").replace(":", "\\:")
    return HttpPort(
        name="control",
        endpoint=f"unix:{quoted}:mode={mode}:lockfile=0",
        site=build_site(tuple(parts), sources, access, parts, mask=config.privacy.mask),
        socket=config.control_socket,
    )


def _fits(password: str, stored: str) -> bool:
    return parse_hash(stored).verify(password.encode())
