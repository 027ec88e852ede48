"""
What a session logs in with: the credentials that ``twisted.cred`` carries from a session to a checker.
"""

from collections.abc import Callable

from attrs import field, frozen
from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, implementer

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


class IProofClient(IUsernameHashedPassword):
    """A user name and the proof that a client knows its password; ``checkPassword`` takes the verifier."""

    mechanism = Attribute("What the proof, and so the verifier, is of.")
    proof = Attribute("What the client has sent, ``bytes``.")


@implementer(IProofClient)
@frozen
class ProofClient:
    """What a session logs in with on AUTH by a mechanism that does not send the password."""

    client: Client
    username: bytes
    mechanism: str
    proof: bytes = field(repr=False)
    checkPassword: Callable[[bytes], bool]
    lost: Deferred[None] = field(factory=Deferred, repr=False, eq=False)


class ICertificateClient(ICredentials):
    """A name in a client's certificate, which was verified: if a user has it, the client is that user."""

    client = Attribute("The :class:`smtprelay.model.message.Client`.")
    username = Attribute("The name, ``bytes``.")


@implementer(ICertificateClient)
@frozen
class CertificateClient:
    """What a session logs in with on AUTH EXTERNAL, for each name in turn."""

    client: Client
    username: bytes


class ISalts(Interface):
    """What a checker provides for mechanisms whose clients must know more than the password (SCRAM)."""

    def salt(username: bytes) -> bytes:  # noqa: N805
        """
        Return what a client must know, as :func:`smtprelay.model.scram.salt_attributes` does.

        Or a Deferred of it. Raises ``LoginFailed`` for a user who has none.
        """
