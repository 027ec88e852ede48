"""
Builds the providers of a configuration from their settings; nothing is connected by that.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import asdict, evolve, field, frozen

from smtprelay.config import provider_settings as settings
from smtprelay.config.model import Config
from smtprelay.interfaces import Events, MimeWorker, Provider
from smtprelay.net.reachability import Reachability
from smtprelay.providers.acs.api import AcsApi
from smtprelay.providers.acs.provider import ACS_LIMITS, Acs, AcsOptions
from smtprelay.providers.acs.signature import Credentials, parse_connection_string, parse_endpoint, parse_key
from smtprelay.providers.capture import Capture
from smtprelay.providers.http.client import open_http
from smtprelay.providers.outgoing import OutgoingProvider
from smtprelay.providers.smarthost.handshake import Timeouts
from smtprelay.providers.smarthost.provider import ServerSettings, Smarthost
from smtprelay.service.build.bounces import bounces_from


@frozen(kw_only=True)
class ProviderContext:
    """
    What providers are built with.

    :ivar defer_to_thread: runs a function on one of the relay's threads.
    :ivar mime: works on the content of mail.
    :ivar reachabilities: by the provider's name: whether it can be reached.
    """

    reactor: Any
    events: Events
    defer_to_thread: Callable[..., Any]
    mime: MimeWorker
    hostname: str
    reachabilities: dict[str, Reachability] = field(factory=dict)

    def reachability(self, provider: str) -> Reachability:
        """Return what notes whether ``provider`` can be reached."""
        return self.reachabilities.setdefault(provider, Reachability(provider, self.reactor.seconds))


def build_providers(config: Config, context: ProviderContext) -> dict[str, Provider]:
    """Return the providers of ``config`` by name; nothing is connected yet."""
    return {name: _built(name, each, config, context) for name, each in config.providers.items()}


def _built(name: str, wanted: Any, config: Config, context: ProviderContext) -> Provider:
    provider = _BUILDERS[wanted.type](name, wanted, context)
    if wanted.type not in _RAW:
        return provider
    return OutgoingProvider(
        provider, context.mime, hostname=context.hostname, bounces_from=bounces_from(config)
    )


def _acs(name: str, wanted: settings.AcsSettings, context: ProviderContext) -> Provider:
    http = open_http(
        context.reactor,
        concurrency=wanted.concurrency,
        timeout=wanted.timeout,
        ca=wanted.ca or "",
        reachability=context.reachability(name),
    )
    api = AcsApi(
        name,
        http,
        lambda: credentials_of(wanted),
        clock=context.reactor,
        events=context.events,
        defer_to_thread=context.defer_to_thread,
    )
    options = AcsOptions(
        sender=wanted.sender,
        sender_domains=wanted.sender_domains,
        blind_to=wanted.blind_to if wanted.blind == "together" and wanted.blind_to else "",
        accept_on=wanted.accept_on,
        # What is documented, where nothing is configured.
        limits=evolve(ACS_LIMITS, **asdict(wanted.limits, filter=lambda _, value: value is not None)),
    )
    return Acs(api, options, worker=context.mime, clock=context.reactor, events=context.events)


def credentials_of(wanted: settings.AcsSettings) -> Credentials:
    """Read the secrets again: an operator may have replaced them."""
    keys = tuple(parse_key(key.reveal()) for key in wanted.access_keys)
    if wanted.connection_string is None:
        return Credentials(parse_endpoint(wanted.endpoint or ""), keys)
    known = parse_connection_string(wanted.connection_string.reveal())
    return evolve(known, keys=(*known.keys, *keys))


def _smarthost(name: str, wanted: settings.SmarthostSettings, context: ProviderContext) -> Provider:
    password = wanted.password
    host = ServerSettings(
        host=wanted.host,
        port=wanted.port,
        tls=wanted.tls,
        verify=wanted.verify,
        ca=wanted.ca or "",
        helo=wanted.helo or context.hostname,
        username=wanted.username or "",
        password=(lambda: "") if password is None else password.reveal,
        concurrency=wanted.concurrency,
        timeouts=Timeouts.of(wanted.timeout),
    )
    return Smarthost(
        name,
        context.reactor,
        host,
        context.events,
        limits=wanted.limits,
        reachability=context.reachability(name),
    )


def _capture(name: str, wanted: settings.CaptureSettings, context: ProviderContext) -> Provider:
    return Capture(name, wanted.path, context.defer_to_thread, wanted.limits)


#: Types that send mail as MIME: it is finished before it leaves. ``capture`` keeps what came.
_RAW: Final = frozenset({"smarthost"})

_BUILDERS: Final[Mapping[str, Callable[[str, Any, ProviderContext], Provider]]] = {
    "acs": _acs,
    "smarthost": _smarthost,
    "capture": _capture,
}
