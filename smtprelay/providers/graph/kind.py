"""
The settings of Microsoft Graph, and what must be right about them.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal

from attrs import evolve, field, frozen

from smtprelay.azure.clouds import CLOUDS, scope
from smtprelay.azure.token_request import TokenRequest
from smtprelay.model.patterns import Patterns
from smtprelay.model.route import Limits, RateLimit, Window
from smtprelay.model.units import shortened
from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.azure_table import AzureTableSettings, check_table, check_table_library
from smtprelay.settings.complaint import Complaint, Path, did_you_mean
from smtprelay.settings.entra import EntraProviderSettings, check_entra, check_identity_library, login_request
from smtprelay.settings.rate import Rate
from smtprelay.settings.secret import Secret

if TYPE_CHECKING:
    from smtprelay.http.credentials import CredentialSource
    from smtprelay.interfaces import Provider
    from smtprelay.providers.call import Caller
    from smtprelay.providers.context import ProviderContext

#: Of a request in base64: a mail of 2.24 MB. A larger one is answered with 200, and not sent.
GRAPH_LIMITS: Final = Limits(request=2_986_000, recipients=500)
#: Clouds without upload sessions (https://learn.microsoft.com/graph/api/attachment-createuploadsession).
_WITHOUT_SESSIONS: Final = ("usgov", "dod")


def parse_mailbox(text: str) -> str:
    """``envelope``, ``header``, or a mail address."""
    if text in ("envelope", "header"):
        return text
    try:
        return values.parse_address(text)
    except ValueError:
        hint = did_you_mean(text, ["envelope", "header"])
        raise ValueError(
            f'"{shortened(text)}" is neither envelope, header nor a mail address{hint}'
        ) from None


MailboxChoice = Annotated[str, values.Notation(parse_mailbox, "envelope, header, or mail address")]


Credential = Literal["application", "certificate", "managed_identity", "workload", "login"]


@frozen(kw_only=True)
class MailboxLaneSettings:
    """
    How fast one mailbox may be asked.

    :ivar concurrency: most requests at once.
    :ivar rate: most requests per time, or octets of mail; all of them apply. Graph documents 150 MB of
        requests in 5 minutes, which are 110 MB of mail before base64.
    """

    concurrency: values.Count = 4
    rate: tuple[Rate, ...] = (
        Window(count=25, seconds=10.0),
        Window(count=110_000_000, seconds=300.0, unit="bytes"),
    )


@frozen(kw_only=True)
class DomainTableSettings(AzureTableSettings):
    """
    An Azure table whose rows say who sends for a domain, and who is told of its failures.
    """

    partition: values.Text = "domain"


@frozen(kw_only=True)
class GraphSettings(EntraProviderSettings):
    """
    Microsoft Graph: mail is sent by the mailboxes of Microsoft 365.

    :ivar tenant: id or domain of the tenant of Microsoft 365. Default: with ``workload`` that of
        ``AZURE_TENANT_ID``. Example: ``contoso.com``.
    :ivar client_id: id of the application that may send mail. Default: with ``managed_identity`` the identity
        that the system assigned, with ``workload`` that of ``AZURE_CLIENT_ID``.
        Example: ``11111111-2222-3333-4444-555555555555``.
    :ivar client_secret: value of the application's secret (not its id).
        Example: ``{file: /run/secrets/graph, expires: 2027-01-31}``.
    :ivar credential: how the relay shows Entra who it is: ``application`` with ``client_secret``,
        ``certificate``, ``managed_identity`` of the machine in Azure, ``workload`` in Kubernetes; or
        ``login``: each mail is sent as the application that its client logged in as. ``certificate``,
        ``managed_identity`` and ``workload`` need azure-identity: ``pip install smtprelay[azure]``. Default:
        ``application``. Example: ``login``.
    :ivar endpoint: URL of Graph; ``http://`` only on loopback. Default: that of ``cloud``.
        Example: ``https://graph.microsoft.us``.
    :ivar mailbox: whose mailbox sends a mail: that of the ``envelope``'s sender, of the address in From
        (``header``), or this one for all mail. Example: ``scanner@example.com``.
    :ivar sender: the mailbox for mail without a sender, such as bounces. Example: ``postmaster@example.com``.
    :ivar lane: how fast each mailbox may be asked.
    :ivar upload_sessions: send mail that is too large for one request as a draft, its attachments one by one.
        It needs the permission Mail.ReadWrite.
    :ivar fallback: by the sender's domain: the mailbox that sends the mail of those that do not exist; From
        is that address then. Example: ``{example.com: alerts@example.com}``.
    :ivar remap: senders whose mail the ``fallback`` of their domain sends in any case, unless a rule has set
        From. Example: ``["*@example.com"]``.
    :ivar notify_failures: by the sender's domain: an address that gets a copy of each report of a failure.
        Example: ``{example.com: it@example.com}``.
    :ivar domain_table: the same for more domains, by rows of an Azure table.
    """

    type: Literal["graph"]
    tenant: values.Name | None = None
    client_id: values.Name | None = None
    client_secret: Secret | None = None
    credential: Credential | None = None  # type: ignore[assignment]  # one more than others have
    mailbox: MailboxChoice = "envelope"
    sender: values.Address | None = None
    lane: MailboxLaneSettings = field(factory=MailboxLaneSettings)
    upload_sessions: values.Flag = False
    fallback: Mapping[values.Domain, values.Address] = field(factory=dict)
    remap: tuple[values.Pattern, ...] = ()
    notify_failures: Mapping[values.Domain, values.Address] = field(factory=dict)
    domain_table: DomainTableSettings | None = None

    def completed(self, hostname: str, environ: Mapping[str, str]) -> "GraphSettings":  # noqa: ARG002
        """Return these settings with the environment's proxy for the table."""
        table = self.domain_table
        if table is None:
            return self
        return evolve(self, domain_table=table.with_environment(environ))

    @property
    def rate_limit(self) -> RateLimit:
        """The rates of the application and of each mailbox; with one mailbox these are the same."""
        lane = self.lane
        if "@" in self.mailbox:
            concurrency = min(self.concurrency, lane.concurrency)
            return RateLimit(concurrency=concurrency, windows=(*self.rate, *lane.rate))
        return RateLimit(
            concurrency=self.concurrency,
            windows=self.rate,
            per_lane=lane.concurrency,
            lane_windows=lane.rate,
        )

    @property
    def token_request(self) -> TokenRequest:
        """How the token of a client's login is asked for."""
        return login_request(self.cloud, self.authority, self.outbound, self.timeout)

    @property
    def uses_login(self) -> bool:
        """Whether mail is sent with the client's own login."""
        return self.credential == "login"

    @property
    def failure_copies(self) -> Mapping[str, str]:
        """Who is told of failures, by the sender's domain in lower case."""
        return {domain.lower(): address for domain, address in self.notify_failures.items()}


def check_sessions(settings: GraphSettings, path: Path) -> Iterator[Complaint]:
    """The cloud has upload sessions."""
    if settings.upload_sessions and settings.cloud in _WITHOUT_SESSIONS:
        text = f"cloud: {settings.cloud} has no upload sessions"
        yield Complaint((*path, "upload_sessions"), text, "CFG-VALUE")


def check_domain_table(settings: GraphSettings, path: Path) -> Iterator[Complaint]:
    """The table of domains can be asked."""
    if settings.domain_table is not None:
        yield from check_table(settings.domain_table, (*path, "domain_table"))


def check_domain_table_library(settings: GraphSettings, path: Path) -> Iterator[Complaint]:
    """What that needs is installed."""
    if settings.domain_table is not None:
        yield from check_table_library(settings.domain_table, (*path, "domain_table"))


def build(name: str, settings: GraphSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected yet."""
    # Slow to import.
    from smtprelay.providers.graph.api import GraphApi  # noqa: PLC0415
    from smtprelay.providers.graph.domain_table import DomainNotices, DomainRowReader  # noqa: PLC0415
    from smtprelay.providers.graph.login import LoginGraph, NoLogin  # noqa: PLC0415
    from smtprelay.providers.graph.mailboxes import Mailboxes  # noqa: PLC0415
    from smtprelay.providers.graph.provider import Graph  # noqa: PLC0415

    service = CLOUDS[settings.cloud].graph
    fallback = {domain.lower(): address for domain, address in settings.fallback.items()}
    rows = None
    if settings.domain_table is not None:
        reader = DomainRowReader(name, context.events)
        rows = context.table_source(name, settings.domain_table, reader.domains)
        context.failure_copies[name] = DomainNotices(settings.failure_copies, rows)
    endpoint = (settings.endpoint or service).rstrip("/")
    mailboxes = Mailboxes(
        chosen=settings.mailbox,
        sender=settings.sender or "",
        fallback=fallback,
        remap=Patterns(settings.remap),
        rows=rows,
    )

    def made(caller: "Caller[str]", tokens: "CredentialSource[str]") -> Graph:
        return Graph(
            GraphApi(caller, f"{endpoint}/v1.0"),
            tokens,
            mailboxes,
            context.mime,
            limits=settings.limits,
            events=context.events,
            upload_sessions=settings.upload_sessions,
        )

    if settings.uses_login:
        caller = context.caller_with(name, settings, NoLogin())
        return LoginGraph(
            lambda tokens: made(caller.using(tokens), tokens), context.logins, settings.token_request
        )
    tokens = context.entra_token(name, settings, settings.application, scope(service))
    return made(context.caller_with(name, settings, tokens), tokens)


GRAPH: Final = ProviderKind(
    settings=GraphSettings,
    build=build,
    limits=GRAPH_LIMITS,
    checks=(check_entra, check_sessions, check_domain_table),
    outside_checks=(check_identity_library, check_domain_table_library),
    raw=True,
)
