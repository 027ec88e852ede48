"""
From who logged in to what that one may do: the realm behind a listener's portal.

:mod:`smtprelay.policy.stock` is imported only when the stock protocol asks, because
``twisted.mail.smtp`` installs the reactor.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.message import Client
from smtprelay.policy.delivery import Desk, EnvelopeDelivery
from smtprelay.policy.settings import User


@implementer(IRealm)
class Realm:
    """
    Gives each session its avatar.

    :param users: the rights by name; whoever a checker knows and this does not
        (a tenant's login) has those of the listener.
    """

    def __init__(self, desk: Desk, users: Iterable[User] = ()) -> None:
        self._desk = desk
        self._users = {user.name: user for user in users}

    def requestAvatar(
        self,
        avatar_id: Any,
        mind: Any,
        *interfaces: InterfaceClass,
    ) -> tuple[Any, Any, Callable[[], None]]:
        """
        Return an avatar for :class:`IEnvelopeDelivery`, else for the stock ``IMessageDelivery``.

        :param avatar_id: the name of a user, or :data:`twisted.cred.checkers.ANONYMOUS`.
        :param mind: the :class:`Client`, if it is known already.
        :raises NotImplementedError: for other interfaces, as :class:`IRealm` wants it.
        """
        client = mind if isinstance(mind, Client) else Client(address="")
        avatar = EnvelopeDelivery(self._desk, self._user(avatar_id), client)
        if IEnvelopeDelivery in interfaces:
            return IEnvelopeDelivery, avatar, avatar.forget
        if IMessageDelivery in interfaces:
            from smtprelay.policy.stock import StockDelivery  # noqa: PLC0415

            return IMessageDelivery, StockDelivery(avatar), avatar.forget
        raise NotImplementedError(f"no avatar for {interfaces}")

    def _user(self, avatar_id: bytes | str | tuple[()]) -> User:
        name = avatar_id.decode() if isinstance(avatar_id, bytes) else avatar_id or ""
        return self._users.get(name) or User(name=name)
