"""
The settings of another SMTP server, and what must be right about them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve, frozen

from smtprelay.model.network import is_loopback
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path
from smtprelay.settings.provider import RemoteProviderSettings
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext

PORTS: Final = {"starttls": 587, "implicit": 465, "none": 25}

_USUAL_TLS: Final = {25: "starttls", 465: "implicit", 587: "starttls"}


@frozen(kw_only=True)
class SmarthostSettings(RemoteProviderSettings):
    """
    Another SMTP server.

    :ivar host: name or IP address of the server. Example: ``smtp.example.com``.
    :ivar port: its port. Default: 587 with ``starttls``, 465 with ``implicit``, 25 with ``none``.
        Example: ``587``.
    :ivar tls: ``starttls`` requires STARTTLS, ``implicit`` starts with TLS, ``none`` does not encrypt.
    :ivar verify: the server's certificate must be valid for ``host``.
    :ivar username: log in with this name. Example: ``relay``.
    :ivar password: the password for ``username``. Example: ``{env: SMARTHOST_PASSWORD}``.
    :ivar helo: the name in EHLO. Default: the relay's ``hostname``. Example: ``relay.example.com``.
    :ivar timeout: time limit for each step: connect, the reply to each command, a piece of the message.
        The reply to the message is awaited for at least ``10m``: to give up earlier may send the mail twice.
    """

    type: Literal["smarthost"]
    host: values.Host
    port: values.Port | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    verify: values.Flag = True
    username: values.Text | None = None
    password: Secret | None = None
    helo: values.Domain | None = None

    @property
    def remote(self) -> str:
        """The server."""
        return self.host

    def completed(self, hostname: str) -> "SmarthostSettings":
        """Return these settings with the usual port, and our name."""
        return evolve(self, port=self.port or PORTS[self.tls], helo=self.helo or hostname)


def check_login(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """A login has a name and a password, which no one reads on the way."""
    if (settings.username is None) != (settings.password is None):
        missing = "username" if settings.username is None else "password"
        text = f'"{missing}" is missing: username and password belong together'
        yield Complaint(path, text, "CFG-MISSING")
    if settings.tls == "none" and settings.password and not is_loopback(settings.host.lower()):
        text = "the password crosses the network in clear text"
        yield Complaint((*path, "tls"), text, "CFG-CLEAR-TEXT", "warning")


def check_tls(settings: SmarthostSettings, path: Path) -> Iterator[Complaint]:
    """The port and ``tls`` belong together, and the certificate is verified."""
    usual = _USUAL_TLS.get(settings.port or 0, settings.tls)
    if usual != settings.tls and "implicit" in {usual, settings.tls}:
        text = f"servers usually expect tls: {usual} at port {settings.port}"
        yield Complaint((*path, "port"), text, "CFG-TLS", "warning")
    if not settings.verify:
        text = "the server's certificate is not verified: anyone in between can read the mail"
        yield Complaint((*path, "verify"), text, "CFG-NO-VERIFY", "warning")


def build(name: str, settings: SmarthostSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.providers.smarthost.provider import Smarthost  # noqa: PLC0415
    from smtprelay.providers.smarthost.server_settings import ServerSettings, Timeouts  # noqa: PLC0415

    password = settings.password
    host = ServerSettings(
        host=settings.host,
        port=settings.port,
        tls=settings.tls,
        verify=settings.verify,
        outbound=settings.outbound,
        helo=settings.helo or context.hostname,
        username=settings.username or "",
        password=(lambda: "") if password is None else password.reveal,
        concurrency=settings.concurrency,
        timeouts=Timeouts.of(settings.timeout),
    )
    return Smarthost(
        name,
        context.reactor,
        host,
        context.events,
        limits=settings.limits,
        reachability=context.reachability(name),
    )


SMARTHOST: Final = ProviderKind(
    settings=SmarthostSettings, build=build, checks=(check_login, check_tls), raw=True
)
