"""
The checker ``any``: for devices that insist on logging in where no login is needed.
"""

from typing import Any

from attrs import frozen
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtprelay.model.message import Client
from smtprelay.policy.checkers.chain import UnknownUser
from smtprelay.policy.networks import Networks
from smtprelay.policy.settings import Identity


@implementer(ICredentialsChecker)
@frozen
class AnyLogin:
    """
    Takes every name with every password, from clients that need none.

    :ivar allow_from: who may send without logging in.
    """

    allow_from: Networks
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """Fire with an unverified :class:`Identity`; raise :exc:`UnknownUser` for a client from elsewhere."""
        client = getattr(credentials, "client", None) or Client(address="")
        if client.address not in self.allow_from:
            raise UnknownUser(rule="auth-network")
        return succeed(Identity(name=credentials.username.decode("utf-8", "replace"), verified=False))
