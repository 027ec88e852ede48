"""From who logged in to what that one may do."""

import subprocess
import sys

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.interfaces import IEnvelopeDelivery
from smtprelay.model.message import Client, Refused
from smtprelay.model.patterns import Patterns
from smtprelay.policy.realm import Realm
from smtprelay.policy.settings import Identity, Rights
from tests.policy.doubles import Store, make_rules

OUTSIDE = Client(address="198.51.100.1")


class RealmTests(SynchronousTestCase):
    def setUp(self):
        self.realm = Realm(make_rules(Store(), has_logins=True))

    def test_interface(self):
        """It is a realm for cred's portal."""
        verifyObject(IRealm, self.realm)

    def test_our_interface_first(self):
        """Asked for several, it gives the one that can do the most."""
        interface, avatar, _ = self.realm.requestAvatar(
            ANONYMOUS, None, IMessageDeliveryFactory, IMessageDelivery, IEnvelopeDelivery
        )
        self.assertIs(interface, IEnvelopeDelivery)
        verifyObject(IEnvelopeDelivery, avatar)

    def test_stock_interface(self):
        """The stock protocols get what they know."""
        interface, avatar, _ = self.realm.requestAvatar(
            ANONYMOUS, None, IMessageDeliveryFactory, IMessageDelivery
        )
        self.assertIs(interface, IMessageDelivery)
        verifyObject(IMessageDelivery, avatar)

    def test_other_interfaces(self):
        """There is no other avatar."""
        with self.assertRaises(NotImplementedError):
            self.realm.requestAvatar(ANONYMOUS, None, IRealm)

    def test_rights(self):
        """An identity has its rights; the name that a checker of somebody else found has the listener's."""
        ann = Identity(name="ann", rights=Rights(senders=Patterns(("ann@b.org",))))
        _, avatar, _ = self.realm.requestAvatar(ann, OUTSIDE, IEnvelopeDelivery)
        avatar.mail("ann@b.org", {})
        self.assertRaises(Refused, avatar.mail, "bob@b.org", {})
        for name in (b"tenant@client", "tenant@client", Identity(name="tenant@client")):
            _, avatar, _ = self.realm.requestAvatar(name, OUTSIDE, IEnvelopeDelivery)
            self.assertIsNone(avatar.mail("bob@b.org", {}))

    def test_anonymous_is_no_user(self):
        """Who did not log in has the rights of nobody."""
        for nobody in (ANONYMOUS, Identity()):
            _, avatar, _ = self.realm.requestAvatar(nobody, OUTSIDE, IEnvelopeDelivery)
            self.assertEqual(
                self.assertRaises(Refused, avatar.mail, "a@b.org", {}).reply.rule, "auth-required"
            )

    def test_logout(self):
        """After logout the avatar has no transaction any more."""
        _, avatar, logout = self.realm.requestAvatar(b"ann", OUTSIDE, IEnvelopeDelivery)
        avatar.mail("ann@b.org", {})
        logout()
        self.assertEqual(self.assertRaises(Refused, avatar.rcpt, "x@y.org", {}).reply.code, 503)

    def test_no_reactor(self):
        """Neither our own protocol's way nor Twisted's interfaces import what installs the reactor."""
        for module in ("smtprelay.service.build.listeners", "twisted.mail.interfaces"):
            script = (
                f"import sys; sys.path[:] = {sys.path}; import {module};"
                "print({'twisted.internet.reactor', 'twisted.mail.smtp'} & set(sys.modules))"
            )
            self.assertEqual(subprocess.check_output([sys.executable, "-c", script]), b"set()\n", module)

    def test_one_avatar_for_both(self):
        """What Twisted's own server gets is our avatar itself, and so are both interfaces one."""
        self.assertTrue(IEnvelopeDelivery.extends(IMessageDelivery))
        _, avatar, _ = self.realm.requestAvatar(ANONYMOUS, None, IMessageDelivery)
        self.assertTrue(IEnvelopeDelivery.providedBy(avatar))
