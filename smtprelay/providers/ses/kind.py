"""
The settings of Amazon SES, and what must be right about them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from attrs import evolve, field, frozen

from smtprelay.mime.address import ascii_address
from smtprelay.model.route import Limits
from smtprelay.providers.kind import ProviderKind
from smtprelay.providers.ses.vault_settings import (
    VaultSettings,
    check_access,
    check_vault,
    variable,
    vault_source,
)
from smtprelay.settings import values
from smtprelay.settings.complaint import Complaint, Path
from smtprelay.settings.provider import HttpProviderSettings

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext
    from smtprelay.providers.ses.sources import AwsCredentialService

#: What the service documents; the size is that of the mail in base64. API v1 takes less.
SES_LIMITS: Final = Limits(request=40_000_000, recipients=50)

_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: Maximum number of tags of a mail.
_MOST_TAGS: Final = 50
_ROLE: Final = re.compile(r"arn:[\w-]+:iam::[0-9]+:role/\S+")
_IDENTITY: Final = re.compile(r"arn:[\w-]+:ses:([\w-]+):[0-9]{12}:identity/\S+")
_REGION: Final = re.compile(r"[a-z]{2,}(-[a-z0-9]+)+")
_SESSION: Final = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
#: Settings that only the API v2 has.
_ONLY_V2: Final = ("tenant", "list", "feedback")


@frozen(kw_only=True)
class RoleSettings:
    """
    Send as a role, also one of another account.

    :ivar arn: its ARN. Example: ``arn:aws:iam::123456789012:role/mail``.
    :ivar external_id: the external id that its trust policy asks for. Example: ``mail-of-contoso``.
    :ivar session_name: the name in CloudTrail. Default: the relay's ``hostname``. Example: ``relay``.
    """

    arn: values.Text
    external_id: values.Text | None = None
    session_name: values.Text | None = None


@frozen(kw_only=True)
class ContactListSettings:
    """
    The contact list whose unsubscribe links SES adds (list management).

    :ivar name: its name. Example: ``customers``.
    :ivar topic: a topic of it. Example: ``news``.
    """

    name: values.Text
    topic: values.Text | None = None


@frozen(kw_only=True)
class SesSettings(HttpProviderSettings):
    """
    Amazon SES, with the credentials of botocore: environment, profile, web identity, container, instance.

    :ivar rate: most requests per time; with several rates, all of them apply. Default: the account's own,
        counted in recipients. Example: ``[10/s]``.
    :ivar region: the region. Default: ``AWS_REGION``, ``AWS_DEFAULT_REGION``, or the profile's.
        Example: ``eu-west-1``.
    :ivar ca: PEM file with certificates to trust in addition to those of the system.
        Default: ``AWS_CA_BUNDLE``. Example: ``extra-ca.pem``.
    :ivar endpoint: URL of the API; ``http://`` only on loopback. Default: the region's, or that
        of botocore's configuration.
        Example: ``https://vpce-1.email.eu-west-1.vpce.amazonaws.com``.
    :ivar api: ``v2`` sends by SendEmail with raw content, ``v1`` by SendRawEmail, for old policies.
    :ivar configuration_set: the configuration set of all mail. Example: ``tracking``.
    :ivar tags: tags of all mail, for the events of the configuration set. Example: ``{app: relay}``.
    :ivar identity_arn: the ARN of an identity, also of another account, that authorizes us to send.
        Example: ``arn:aws:ses:eu-west-1:123456789012:identity/example.com``.
    :ivar tenant: the tenant. Example: ``contoso``.
    :ivar feedback: address that SES forwards bounces and complaints to. Example: ``bounces@example.com``.
    :ivar x_ses_headers: fields ``X-SES-…`` of clients, which are commands to SES: ``drop`` or ``keep`` them.
    """

    type: Literal["ses"]
    region: values.Text | None = None
    api: Literal["v2", "v1"] = "v2"
    configuration_set: values.Text | None = None
    tags: Mapping[values.Text, values.Text] = field(factory=dict)
    identity_arn: values.Text | None = None
    tenant: values.Text | None = None
    list_: ContactListSettings | None = None
    feedback: values.Address | None = None
    assume_role: RoleSettings | None = None
    vault: VaultSettings | None = None
    x_ses_headers: Literal["drop", "keep"] = "drop"

    def completed(self, hostname: str, environ: Mapping[str, str]) -> "SesSettings":
        """Return these settings with what the variables say, and the name of the role's session."""
        role = self.assume_role
        if role is not None and role.session_name is None:
            name = re.sub(r"[^\w+=,.@-]", "-", hostname, flags=re.ASCII)[:64]
            role = evolve(role, session_name=name)
        return evolve(
            self,
            region=self.region or variable(environ, "AWS_", "REGION", "DEFAULT_REGION"),
            ca=self.ca or variable(environ, "AWS_", "CA_BUNDLE"),
            assume_role=role,
            vault=self.vault and self.vault.completed(environ),
        )


def check_words(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """Names, tags and ARNs are such that SES takes them."""
    role = settings.assume_role
    contacts = settings.list_
    name = "expected letters, digits, _ and -, at most 64"
    arn = "expected arn:aws:ses:REGION:ACCOUNT:identity/NAME"
    checked = [
        ("region", settings.region, _REGION, "expected a region such as eu-west-1"),
        ("configuration_set", settings.configuration_set, _NAME, name),
        ("identity_arn", settings.identity_arn, _IDENTITY, arn),
        ("tenant", settings.tenant, _NAME, name),
        ("list.name", contacts.name if contacts else None, _NAME, name),
        ("list.topic", contacts.topic if contacts else None, _NAME, name),
    ]
    if role is not None:
        arn, session = "expected arn:aws:iam::ACCOUNT:role/NAME", "expected 2 to 64 of a-z A-Z 0-9 _+=,.@-"
        checked.append(("assume_role.arn", role.arn, _ROLE, arn))
        checked.append(("assume_role.session_name", role.session_name, _SESSION, session))
    for key, text, pattern, expected in checked:
        if text is not None and not pattern.fullmatch(text):
            yield Complaint((*path, *key.split(".")), f'"{text}": {expected}', "CFG-VALUE")
    for name, value in settings.tags.items():
        if not (_TAG.fullmatch(name) and _TAG.fullmatch(value)):
            text = f'"{name}: {value}": expected letters, digits, _ and -, at most 256'
            yield Complaint((*path, "tags"), text, "CFG-VALUE")


def check_mail(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """What is in each mail is such that SES does not refuse all of them."""
    arn = _IDENTITY.fullmatch(settings.identity_arn or "")
    if arn and settings.region and arn[1] != settings.region:
        text = f"an identity of {arn[1]}, and region is {settings.region}: SES wants one of its own region"
        yield Complaint((*path, "identity_arn"), text, "CFG-VALUE")
    if len(settings.tags) > _MOST_TAGS:
        text = f"{len(settings.tags)} tags: SES takes {_MOST_TAGS} with a mail"
        yield Complaint((*path, "tags"), text, "CFG-VALUE")
    if settings.feedback and not ascii_address(settings.feedback):
        text = f'"{settings.feedback}": SES takes letters of ASCII only before the @'
        yield Complaint((*path, "feedback"), text, "CFG-VALUE")


def check_api(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """The API v1 does not have all settings."""
    for key in _ONLY_V2:
        if settings.api == "v1" and getattr(settings, key if key != "list" else "list_") is not None:
            yield Complaint((*path, key), f"{key} needs api: v2", "CFG-VALUE")


def check_vault_settings(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """Vault, where keys are read from it."""
    if settings.vault is not None:
        yield from check_vault(settings.vault, (*path, "vault"))


def check_vault_access(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """Vault has an address, and there is a login."""
    if settings.vault is not None:
        yield from check_access(settings.vault, (*path, "vault"))


def check_library(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """The libraries are there."""
    for name, needed in (("botocore", True), ("hvac", settings.vault is not None)):
        if needed and find_spec(name) is None:
            extra = "aws" if name == "botocore" else "aws,vault"
            text = f"ses needs {name}: pip install smtprelay[{extra}]"
            yield Complaint((*path, "type"), text, "CFG-VALUE")


def check_region(settings: SesSettings, path: Path) -> Iterator[Complaint]:
    """There is a region: in the settings, in a variable, or in the profile, which botocore knows."""
    if settings.region is not None or find_spec("botocore") is None:
        return
    # Slow to import.
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    from botocore.session import Session  # noqa: PLC0415

    try:
        why = "" if Session().get_config_variable("region") else "the profile has none"
    except BotoCoreError as error:
        why = str(error)
    if why:
        text = f'"region" is missing: set it, or AWS_REGION ({why})'
        yield Complaint((*path, "region"), text, "CFG-MISSING")


def _service(settings: SesSettings, seconds: Callable[[], float]) -> "AwsCredentialService":
    from smtprelay.providers.ses.sources import AwsCredentialService, AwsSource  # noqa: PLC0415

    role = settings.assume_role
    source = AwsSource(
        region=settings.region or "",
        endpoint=settings.endpoint or "",
        service="ses" if settings.api == "v1" else "sesv2",
        role=role.arn if role else "",
        external_id=(role and role.external_id) or "",
        session_name=(role and role.session_name) or "",
        outbound=settings.outbound,
    )
    vault = (
        None if settings.vault is None else vault_source(settings.vault, settings.outbound, settings.timeout)
    )
    return AwsCredentialService(source, vault, seconds)


def build(name: str, settings: SesSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; nothing is connected or imported of botocore yet."""
    # Slow to import.
    from smtprelay.providers.ses.provider import Ses  # noqa: PLC0415
    from smtprelay.providers.ses.request import API_V1, API_V2, SesOptions  # noqa: PLC0415

    contacts = settings.list_
    caller, renewed = context.renewing_caller(name, settings, _service(settings, context.reactor.seconds))
    options = SesOptions(
        configuration_set=settings.configuration_set or "",
        tags=settings.tags,
        identity_arn=settings.identity_arn or "",
        tenant=settings.tenant or "",
        contact_list=contacts.name if contacts else "",
        topic=(contacts and contacts.topic) or "",
        feedback=ascii_address(settings.feedback or ""),
        keep_commands=settings.x_ses_headers == "keep",
    )
    return Ses(
        caller,
        renewed,
        API_V1 if settings.api == "v1" else API_V2,
        options,
        limits=settings.limits,
        events=context.events,
    )


SES: Final = ProviderKind(
    settings=SesSettings,
    build=build,
    limits=SES_LIMITS,
    checks=(check_words, check_mail, check_api, check_vault_settings),
    outside_checks=(check_library, check_region, check_vault_access),
    raw=True,
)
