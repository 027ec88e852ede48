"""
The secrets of a configuration that are in Azure Key Vault: read before anything needs them, and kept fresh.

A start without them fails: a relay that knows no user and opens no provider would only turn mail away, and
whoever starts it again sees why. They are kept in memory alone. While the relay runs, and when it reloads,
the one that was read last stays in use if Key Vault is away.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from smtprelay.azure.application import EntraApplication
from smtprelay.azure.clouds import CLOUDS, scope
from smtprelay.azure.key_vault import KeyVaultReader
from smtprelay.azure.tokens import EntraTokens
from smtprelay.config.checks import walk
from smtprelay.config.model import Config
from smtprelay.http.client import Http, NoAnswerError, open_http
from smtprelay.http.renewed import Renewed, at_once
from smtprelay.interfaces import Events
from smtprelay.service.errors import UNAVAILABLE, StartFailed
from smtprelay.service.threads import Threads
from smtprelay.settings.complaint import Path, spelled
from smtprelay.settings.entra import MACHINE, KeyVaultSettings
from smtprelay.settings.secret import RemoteSecret, Secret

#: Who uses the tokens and the secrets, in the log and the metrics.
_USER = "key_vault"


#: The application tells apart secrets that have the same place.
_Key = tuple[str, KeyVaultSettings, EntraApplication]


class RemoteSecrets:
    """Reads the secrets of one configuration after the other; each is known by its URL and by who asks."""

    def __init__(
        self, reactor: Any, events: Events, threads: Threads, make_http: Callable[..., Http] = open_http
    ) -> None:
        self._reactor = reactor
        self._events = events
        self._threads = threads
        self._open_http = make_http
        self._tokens = EntraTokens(
            make_http,
            clock=reactor,
            events=events,
            defer_to_thread=threads.work,
            defer_to_own_thread=threads.own,
        )
        #: The source of each, and that of the token it is read with.
        self._known: dict[_Key, tuple[Renewed[str], Renewed[str]]] = {}

    async def read(self, config: Config) -> None:
        """
        Read what ``config`` names, again if it was read before, so that its secrets have values.

        :raises StartFailed: one has none.
        """
        settings = config.key_vault or MACHINE
        for path, remote in remote_secrets(config):
            key = remote.url, settings, settings.application
            known = key in self._known
            if not known:
                self._known[key] = self._begin(remote.url, settings)
            source, _ = self._known[key]
            try:
                await (source.again() if known else source.current())
            except NoAnswerError as error:
                raise StartFailed(f"{spelled(path)}: {error}", UNAVAILABLE) from error
            remote.latest = partial(getattr, source, "known")

    async def keep_only(self, config: Config) -> None:
        """End the timers of those that ``config``, which is in force now, does not name."""
        settings = config.key_vault or MACHINE
        named = {(remote.url, settings, settings.application) for _, remote in remote_secrets(config)}
        for key in self._known.keys() - named:
            for source in self._known.pop(key):
                await source.close()

    def clock_stepped(self, seconds: float) -> None:
        """Correct the times of all after the system clock was set forward by so many seconds, or back."""
        for source in {source for sources in self._known.values() for source in sources}:
            source.clock_stepped(seconds)

    async def stop(self) -> None:
        """Read nothing more, and let nobody wait."""
        for sources in self._known.values():
            for source in sources:
                source.stop_waiting()
                await source.close()
        self._known.clear()

    def _begin(self, url: str, settings: KeyVaultSettings) -> tuple[Renewed[str], Renewed[str]]:
        outbound, timeout = settings.outbound, settings.timeout
        token = self._tokens.source(
            _USER,
            settings.application,
            scope(CLOUDS[settings.cloud].vault),
            outbound=outbound,
            timeout=timeout,
        )
        service = KeyVaultReader(
            url,
            token,
            lambda: self._open_http(self._reactor, concurrency=1, timeout=timeout, outbound=outbound),
            self._threads.work,
            self._reactor.seconds,
            settings.refresh,
        )
        source: Renewed[str] = Renewed(
            _USER,
            service,
            clock=self._reactor,
            events=self._events,
            defer=at_once,
            patience=timeout,
        )
        return source, token


def remote_secrets(config: Config) -> Iterator[tuple[Path, RemoteSecret]]:
    """Give the secrets of ``config`` that must be read from elsewhere, with their places."""
    for path, value in walk(config):
        if isinstance(value, Secret) and value.remote is not None:
            yield path, value.remote
