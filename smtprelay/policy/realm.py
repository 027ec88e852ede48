"""
Gives each login its avatar: the realm behind a listener's portal.
"""

from collections.abc import Callable
from typing import Any

from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.model.message import Client
from smtprelay.policy.avatar import EnvelopeDelivery, ListenerRules
from smtprelay.policy.settings import Identity


@implementer(IRealm)
class Realm:
    """Gives each session of a listener its avatar."""

    def __init__(self, rules: ListenerRules) -> None:
        self._rules = rules

    def requestAvatar(
        self, avatar_id: Any, mind: Any, *interfaces: InterfaceClass
    ) -> tuple[Any, Any, Callable[[], None]]:
        """
        Return the avatar: an :class:`IEnvelopeDelivery`, which is Twisted's ``IMessageDelivery`` too.

        :param avatar_id: an :class:`Identity`; of a checker from another package, which does not know it, a
            name, which has the rights of the listener, or :data:`twisted.cred.checkers.ANONYMOUS`.
        :param mind: the :class:`Client`, if it is known already.
        :raises NotImplementedError: for other interfaces, as :class:`IRealm` wants it.
        """
        client = mind if isinstance(mind, Client) else Client(address="")
        identity = avatar_id
        if not isinstance(identity, Identity):
            identity = Identity(name=avatar_id.decode() if isinstance(avatar_id, bytes) else avatar_id or "")
        avatar = EnvelopeDelivery(self._rules, identity, client)
        for interface in (IEnvelopeDelivery, IMessageDelivery):
            if interface in interfaces:
                return interface, avatar, avatar.forget
        raise NotImplementedError(f"no avatar for {interfaces}")
