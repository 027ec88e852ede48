"""Who may send without logging in."""

from twisted.cred.checkers import ANONYMOUS, ICredentialsChecker
from twisted.cred.credentials import Anonymous
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smtprelay.model.credentials import AnonymousClient
from smtprelay.model.message import Client, Refused
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.networks import Networks
from smtprelay.policy.settings import ListenerPolicy

CLIENT = Client(address="192.0.2.7")


class AnonymousTests(SynchronousTestCase):
    def checker(self, **rights: object) -> AnonymousByNetwork:
        networks = Networks.parse(["192.0.2.0/24"])
        return AnonymousByNetwork(
            ListenerPolicy(name="lan", hostname="relay.example.com", allow_from=networks, **rights)
        )

    def test_interface(self):
        """It is a checker for cred's portal."""
        verifyObject(ICredentialsChecker, self.checker())

    def test_admitted(self):
        """Who is in the network is anonymous."""
        found = self.checker().requestAvatarId(AnonymousClient(CLIENT))
        self.assertEqual(self.successResultOf(found), ANONYMOUS)

    def test_refused(self):
        """Who is not is told why."""
        stranger = AnonymousClient(Client(address="198.51.100.1", user="ann"))
        for rights, code in (({}, 550), ({"has_logins": True}, 530)):
            error = self.assertRaises(Refused, self.checker(**rights).requestAvatarId, stranger)
            self.assertEqual(error.reply.code, code)

    def test_stock_credentials(self):
        """The stock protocol's anonymous, of whom nothing is known, is left to the avatar."""
        self.assertEqual(self.successResultOf(self.checker().requestAvatarId(Anonymous())), ANONYMOUS)
