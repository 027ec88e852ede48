"""
What a listener and one who sends there may do, as values.

``None`` instead of patterns is no restriction; empty patterns allow nothing.
The service makes these from the configuration. Pure.
"""

from collections.abc import Callable

from attrs import field, frozen

from smtprelay.model.message import SessionLogin
from smtprelay.model.patterns import Patterns
from smtprelay.policy.networks import LOOPBACK, Networks
from smtprelay.policy.sending_rate import SendingRate


@frozen(kw_only=True)
class ListenerPolicy:
    """
    The rights that come with a listener.

    :ivar hostname: our name in the ``Received:`` header.
    :ivar allow_from: who may send without logging in.
    :ivar allow_senders: envelope senders that may pass; the null sender always may.
    :ivar tls_required: mail in plain text is refused.
    :ivar auth_required: ``allow_from`` is not enough, one must log in.
    :ivar has_logins: whether a client that is not in ``allow_from`` can log in.
    :ivar one_delivery: a transaction must be one delivery, for its client waits for the provider's result.
    :ivar size: bytes of the largest message that is taken, as announced by SIZE; see
        :meth:`smtprelay.policy.router.Router.largest`. ``None`` is no limit.
    :ivar keeps_subject: that of :class:`smtprelay.model.message.Draft`.
    :ivar counts_content: what :meth:`smtprelay.policy.router.Router.counts_content` says.
    :ivar messages: how fast messages may be sent; ``recipients``: and recipients named.
    """

    name: str
    hostname: str
    allow_from: Networks = field(factory=lambda: Networks.parse(LOOPBACK))
    allow_senders: Patterns | None = None
    allow_recipients: Patterns | None = None
    tls_required: bool = False
    auth_required: bool = False
    has_logins: bool = False
    one_delivery: bool = False
    size: int | None = None
    counts_content: bool = True
    keeps_subject: bool = True
    messages: SendingRate | None = None
    recipients: SendingRate | None = None


@frozen(kw_only=True)
class Rights:
    """
    What one who logged in may do, within the rights of the listener.

    :ivar force_from: replaces whatever envelope sender is given, the null sender apart; From names it, too.
    :ivar rate: how fast he may send, wherever he logs in.
    """

    senders: Patterns | None = None
    recipients: Patterns | None = None
    force_from: str = ""
    rate: SendingRate | None = None


@frozen(kw_only=True)
class Identity:
    """
    Who a session is, as a checker found: the avatar id.

    :ivar name: for the log, the routes and the header; ``""`` did not log in.
    :ivar login: with which its mail may be delivered, if that is the session's own.
    :ivar verified: the name was proven; else it is only what the client calls itself.
    """

    name: str = ""
    rights: Rights = Rights()
    login: SessionLogin | None = None
    verified: bool = True

    @property
    def trusted(self) -> bool:
        """Whether it may do what needs a login; an unchecked name does not count."""
        return self.verified and self.name != ""


@frozen(kw_only=True)
class User:
    """
    One who may log in by a password of the configuration, or by a certificate with this name.

    :ivar password_hash: one of :func:`smtprelay.policy.user_secret.parse_user_hash`; ``""``: there is none.
    :ivar password: returns the password itself; with it the hash does not count.
    """

    name: str
    password_hash: str = field(default="", repr=False)
    password: Callable[[], str] | None = field(default=None, repr=False)
    rights: Rights = Rights()
