"""
Watches what ends on a day that is known: secrets with ``expires``, certificates, logins that nothing renews.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from smtprelay.config.checks import walk
from smtprelay.config.model import Config
from smtprelay.http.renewed import Renewed
from smtprelay.interfaces import DeferToThread, Events
from smtprelay.model.expiry import Expiries, expiry_words
from smtprelay.net.certificate import CertificateError, PemText, certificate_end
from smtprelay.settings.complaint import spelled
from smtprelay.settings.secret import Secret

#: Seconds between two checks, and between two warnings.
CHECK_EVERY: Final = 3600.0
_WARN_EVERY: Final = 86_400.0
#: The settings that name a file with a certificate that we show.
_CERTIFICATES: Final = ("certificate", "client_certificate")


@define(eq=False)
class ExpiryWatch:
    """
    Knows when each ends, and warns once a day of what ends soon.

    :ivar renewed: that of :class:`smtprelay.service.build.running.RunningConfig`.
    :ivar known: by the name of the setting.
    """

    _config: Config
    renewed: Mapping[str, Renewed[Any]]
    _defer_to_thread: DeferToThread
    _clock: IReactorTime
    _events: Events
    _warned: dict[str, float] = field(factory=dict, init=False)
    known: Expiries = field(factory=dict, init=False)

    async def check(self) -> None:
        """Read certificates, which may be new, and warn."""
        found = await self._defer_to_thread(lambda: dict(expiries_of(self._config)))
        logins = {f"the login of {name}": each.login_expires for name, each in self.renewed.items()}
        self.known = found | {name: end for name, end in logins.items() if end is not None}
        now = self._clock.seconds()
        for name, end in self.known.items():
            words = expiry_words(end, now)
            if words and now >= self._warned.get(name, -inf) + _WARN_EVERY:
                self._warned[name] = now
                self._events("secret.expiring", name=name, text=words, time=end)


def expiries_of(config: Config) -> Iterator[tuple[str, float]]:
    """Give the names of secrets and certificates, each with its end."""
    for path, value in walk(config):
        if isinstance(value, Secret) and value.ends is not None:
            yield spelled(path), value.ends
        elif path and path[-1] in _CERTIFICATES and isinstance(value, str | Secret):
            source = Path(value) if isinstance(value, str) else PemText(value.place, value.reveal)
            with suppress(CertificateError):
                yield spelled(path), certificate_end(source).timestamp()
