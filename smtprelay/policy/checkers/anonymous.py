"""
Who may send without logging in.
"""

from typing import Any

from attrs import evolve, frozen
from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtprelay.model.credentials import IAnonymousClient
from smtprelay.model.message import Refused
from smtprelay.policy.admission import admission
from smtprelay.policy.settings import ListenerPolicy


@implementer(ICredentialsChecker)
@frozen
class AnonymousByNetwork:
    """
    Admits who may send without logging in.

    The credentials of :class:`twisted.mail.smtp.ESMTP` say nothing of the client; they are
    let through, because the avatar judges the client again once it is known.
    """

    listener: ListenerPolicy
    credentialInterfaces = (IAnonymousClient, IAnonymous)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """Fire with :data:`ANONYMOUS`, or raise :class:`Refused` with the reply to MAIL."""
        if IAnonymousClient.providedBy(credentials):
            refusal = admission(self.listener, evolve(credentials.client, user=""))
            if refusal is not None:
                raise Refused(refusal)
        return succeed(ANONYMOUS)
