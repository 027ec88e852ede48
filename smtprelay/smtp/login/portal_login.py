"""
Logs a session in through a ``twisted.cred`` portal, of policy or of any Twisted program.

An avatar that knows only the stock ``IMessageDelivery`` is adapted by :mod:`smtprelay.smtp.twisted_delivery`,
which is imported only then, because what it imports installs the reactor.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.cred.credentials import Anonymous, ICredentials
from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.model.credentials import (
    AnonymousClient,
    CertificateClient,
    ISalts,
    PasswordClient,
    ProofClient,
)
from smtprelay.model.message import Client
from smtprelay.smtp.login.login_steps import ClaimedLogin


@frozen
class PortalLogin:
    """
    An avatar.

    :ivar delivery: has the methods that :class:`IEnvelopeDelivery` adds; ``client_is`` was not called yet.
    :ivar logout: ends its use; called once.
    :ivar user: the name that has logged in; ``""``: none.
    """

    delivery: Any
    logout: Callable[[], object]
    user: str = ""


async def admit_anonymous(portal: Portal, client: Client) -> PortalLogin:
    """
    Log ``client`` in without a name; a portal that does not know our credential is asked with the stock one.

    :raises LoginFailed: if the portal wants a name. A checker may also raise
        :class:`smtprelay.model.message.Refused`.
    """
    try:
        return await _admit(portal, AnonymousClient(client))
    except UnhandledCredentials:
        return await _admit(portal, Anonymous())


async def request_salt(portal: Portal, username: str) -> bytes:
    """Return a user's salt; raises what the checker does, and ``LookupError`` where none has any."""
    checkers: Any = portal.checkers.values()
    for checker in filter(ISalts.providedBy, checkers):
        return bytes(await maybeDeferred(checker.salt, username.encode()))
    raise LookupError("no checker has salts")


async def admit_user(
    portal: Portal, client: Client, login: ClaimedLogin, lost: Deferred[None]
) -> PortalLogin:
    """Log a user in; raises like :func:`admit_anonymous`. ``lost`` fires when the client is gone."""
    name, secret, proves = login.username.encode(), login.password, login.proves
    if login.names:
        return await _admit_certified(portal, client, login.names)
    if proves is None:
        return await _admit(portal, PasswordClient(client, name, secret, lost), login.username)
    credentials = ProofClient(client, name, login.mechanism, secret, proves, lost)
    return await _admit(portal, credentials, login.username)


async def _admit_certified(portal: Portal, client: Client, names: Sequence[str]) -> PortalLogin:
    """Log in the first user that has one of these ``names``."""
    *others, last = names
    for name in others:
        with suppress(LoginFailed):
            return await _admit(portal, CertificateClient(client, name.encode()), name)
    return await _admit(portal, CertificateClient(client, last.encode()), last)


async def _admit(portal: Portal, credentials: ICredentials, user: str = "") -> PortalLogin:
    interface: Any
    avatar: Any
    interface, avatar, logout = await portal.login(
        credentials, None, IEnvelopeDelivery, IMessageDeliveryFactory, IMessageDelivery
    )
    if interface is IEnvelopeDelivery:
        return PortalLogin(avatar, logout, user)
    from smtprelay.smtp.twisted_delivery import TwistedDelivery  # noqa: PLC0415 -- installs the reactor

    makes = interface.isOrExtends(IMessageDeliveryFactory)
    return PortalLogin(TwistedDelivery(avatar.getMessageDelivery if makes else lambda: avatar), logout, user)
