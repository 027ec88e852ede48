"""
What a session logs in with: the credentials that ``twisted.cred`` carries from a session to a checker.
"""

from attrs import field, frozen
from twisted.cred.credentials import ICredentials, IUsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import Attribute, implementer

from smtprelay.model.message import Client


class IAnonymousClient(ICredentials):
    """The credential of a client that has not logged in: who it is, as far as it is known."""

    client = Attribute("The :class:`smtprelay.model.message.Client`.")


@implementer(IAnonymousClient)
@frozen
class AnonymousClient:
    """What a session logs in with at its first MAIL when there was no AUTH."""

    client: Client


class IPasswordClient(IUsernamePassword):
    """A user name and a password, with the client that gave them."""

    client = Attribute("The :class:`smtprelay.model.message.Client`; its ``user`` is still empty.")
    lost = Attribute("A Deferred that fires when the client is gone and the answer is not needed.")


@implementer(IPasswordClient)
@frozen
class PasswordClient:
    """
    What a session logs in with on AUTH PLAIN or LOGIN.

    ``username`` and ``password`` are bytes, as :class:`IUsernamePassword` wants them.
    """

    client: Client
    username: bytes
    password: bytes = field(repr=False)
    lost: Deferred[None] = field(factory=Deferred, repr=False, eq=False)

    def checkPassword(self, password: bytes) -> bool:
        """Compare with a password in clear text, for checkers that keep such."""
        return self.password == password
