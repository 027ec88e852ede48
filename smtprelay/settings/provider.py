"""
The settings that providers have in common; each type of provider adds its own.
"""

from collections.abc import Collection, Mapping
from typing import Any, Self, get_args

from attrs import evolve, field, fields, frozen

from smtprelay.model.route import Limits, RateLimit
from smtprelay.net.outbound import Outbound
from smtprelay.settings import values
from smtprelay.settings.proxy import ProxySetting, environment_no_proxy, environment_proxy, proxy_of
from smtprelay.settings.rate import Rate


@frozen(kw_only=True)
class ProviderSettings:
    """
    Settings of all providers.

    In a provider's own class ``type`` is a :class:`~typing.Literal` of one word.

    :ivar type: the kind of provider; it decides which other settings there are.
    :ivar rate: most requests (a smarthost: mails) per time; with several rates, all of them apply.
        Example: ``[30/min, 100/h]``.
    :ivar concurrency: most requests, or connections, at once.
    :ivar limits: limits of one message. Default: those that the provider documents.
    """

    type: str
    rate: tuple[Rate, ...] = ()
    concurrency: values.Count = 10
    limits: Limits = field(factory=Limits)

    @property
    def rate_limit(self) -> RateLimit:
        """``rate`` and ``concurrency`` as the spool uses them."""
        return RateLimit(concurrency=self.concurrency, windows=self.rate)

    @property
    def uses_login(self) -> bool:
        """Whether mail is sent with the client's own login."""
        return False

    @property
    def remote(self) -> str:
        """The name of the server in reports to senders (``Remote-MTA``); ``""`` if it is no mail server."""
        return ""

    @property
    def failure_copies(self) -> Mapping[str, str]:
        """Who gets a copy of each report of a failure, by the domain in lower case that the mail is from."""
        return {}

    @property
    def author_domains(self) -> Collection[str] | None:
        """The domains that From may have in mail that leaves by it; ``None``: any."""
        return None

    def completed(self, hostname: str, environ: Mapping[str, str]) -> Self:  # noqa: ARG002 -- for others
        """
        Return these settings with the defaults that depend on other settings or on the environment.

        :param hostname: the relay's.
        """
        return self


@frozen(kw_only=True)
class RemoteProviderSettings(ProviderSettings):
    """
    Settings of all providers behind a network.

    :ivar timeout: time limit for each step of a request: connect, wait for the answer, read it.
    :ivar ca: PEM file with certificates to trust in addition to those of the system.
        Example: ``extra-ca.pem``.
    :ivar client_certificate: PEM file with a certificate, and its chain, for a server that asks for one.
        Example: ``client.pem``.
    :ivar client_key: PEM file with the key of ``client_certificate``. Default: the same file.
        Example: ``client.key``.
    """

    timeout: values.TimeLimit = 30.0
    ca: values.FilePath | None = None
    client_certificate: values.FilePath | None = None
    client_key: values.FilePath | None = None

    @property
    def outbound(self) -> Outbound:
        """How requests leave; raises ``ValueError`` if that cannot be read."""
        certificate = self.client_certificate
        shown = (certificate, self.client_key or certificate) if certificate else None
        return Outbound(ca=self.ca or "", client_certificate=shown)


@frozen(kw_only=True, slots=False)
class ProxySettings:
    """
    Settings of whatever sends HTTP requests.

    :ivar proxy: HTTP proxy for all requests: ``http://``, with or without ``USER:PASSWORD@``, or ``https://``;
        ``off`` ignores the environment. Default: ``HTTPS_PROXY`` or ``ALL_PROXY`` of the environment.
        Example: ``http://proxy.example.com:3128``.
    :ivar no_proxy: hosts, domains and networks that are reached without the proxy. Default: ``NO_PROXY`` of
        the environment. Example: ``[internal.example.com, 10.0.0.0/8]``.
    """

    proxy: ProxySetting = None
    no_proxy: tuple[values.Text, ...] = ()

    def with_environment(self, environ: Mapping[str, str]) -> Self:
        """Return these settings with the proxy of the environment, if they name none."""
        proxy, no_proxy = environment_proxy(environ), environment_no_proxy(environ)
        return evolve(self, proxy=self.proxy or proxy, no_proxy=self.no_proxy or no_proxy)


@frozen(kw_only=True, slots=False)
class HttpClientSettings(ProxySettings):
    """
    Settings of what sends HTTP requests and is no provider.

    :ivar timeout: time limit for each step of a request: connect, wait for the answer, read it.
    :ivar ca: PEM file with certificates to trust in addition to those of the system.
        Example: ``extra-ca.pem``.
    """

    timeout: values.TimeLimit = 30.0
    ca: values.FilePath | None = None

    @property
    def outbound(self) -> Outbound:
        """How requests leave; raises ``ValueError`` if that cannot be read."""
        return Outbound(ca=self.ca or "", proxy=proxy_of(self.proxy), no_proxy=self.no_proxy)


@frozen(kw_only=True)
class HttpProviderSettings(ProxySettings, RemoteProviderSettings):
    """
    Settings of all providers with an HTTP API.

    :ivar endpoint: URL of the API; ``http://`` only on loopback. Default: the provider's own.
        Example: ``https://api.example.com``.
    """

    endpoint: values.Url | None = None

    @property
    def outbound(self) -> Outbound:
        """How requests leave; raises ``ValueError`` if that cannot be read."""
        return evolve(super().outbound, proxy=proxy_of(self.proxy), no_proxy=self.no_proxy)


def type_word(cls: Any) -> str:
    """Return the word of the key "type" that stands for a class, ``""`` if it has no such key."""
    kind = next((each.type for each in fields(cls) if each.name == "type"), None)
    return str(get_args(kind)[0]) if kind is not None else ""
