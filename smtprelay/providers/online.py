"""
What can be found out of a provider without sending mail: for ``smtprelay config check --online``.

Each is asked its probe and its ``online_checks``; what it cannot tell itself is how our clock goes.
"""

from collections.abc import Iterable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from smtprelay.http.client import Http, Response, open_http
from smtprelay.interfaces import Provider
from smtprelay.interfaces.online import OnlineChecks, OnlineFinding, Senders, of_outcome

#: Seconds that clocks may differ: services refuse signed requests of another time than theirs ± 5 minutes.
_REFUSED: Final = 240.0
_NOTABLE: Final = 30.0


def online_checks_of(provider: Provider, senders: Senders) -> OnlineChecks:
    """Return what can be asked: a probe, which needs the credentials, and what the provider has itself."""

    async def probe() -> Iterable[OnlineFinding]:
        return [of_outcome(await provider.probe(""), "it works")]

    return {"probe": probe, **provider.online_checks(senders)}


@define
class DatedHttp:
    """A client as :class:`Http` that notes the ``Date`` of each answer, and when that came."""

    _http: Http
    _clock: IReactorTime
    _skews: list[float]

    async def request(self, *arguments: Any) -> Response:
        """Send one request by :meth:`Http.request`."""
        answer = await self._http.request(*arguments)
        with suppress(ValueError, OverflowError):
            date = parsedate_to_datetime(answer.header("Date"))
            self._skews.append(date.timestamp() - self._clock.seconds())
        return answer

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()


@define
class ServiceClock:
    """
    What time the services have that a provider asks.

    :ivar skews: seconds that their clocks are ahead of ours, for each answer with a ``Date``.
    """

    _clock: IReactorTime
    skews: list[float] = field(factory=list, init=False)

    def open_http(self, *arguments: Any, **options: Any) -> Any:
        """Return a client as :func:`smtprelay.http.client.open_http`, whose answers are noted."""
        return DatedHttp(open_http(*arguments, **options), self._clock, self.skews)

    @property
    def finding(self) -> OnlineFinding | None:
        """How our clock goes; ``None``: no service has told."""
        if not self.skews:
            return None
        # What comes late, or from a cache, is behind; the least is nearest to the truth.
        skew = min(self.skews, key=abs)
        if abs(skew) < _NOTABLE:
            return OnlineFinding("that of this machine agrees with the service's")
        text = f"that of this machine is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead'}: set it"
        return OnlineFinding(text, "error" if abs(skew) > _REFUSED else "warning")
