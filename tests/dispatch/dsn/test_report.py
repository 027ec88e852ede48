from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dsn.report import ACTIONS, DELAYED, FAILED, RELAYED, ReportedRecipient, is_wanted
from smtprelay.model.message import Envelope, Recipient
from tests.dispatch.stage import make_delivery


class WantedTests(SynchronousTestCase):
    def test_never_to_the_null_sender_and_never_of_a_bounce(self) -> None:
        """A bounce of a bounce would never end, whatever it asks for."""
        recipient = Recipient(address="a@x.org", notify="SUCCESS,FAILURE,DELAY")
        for action in ACTIONS:
            self.assertTrue(is_wanted(make_delivery(), recipient, action))
            self.assertFalse(is_wanted(make_delivery(bounce_of="M0"), recipient, action))
            self.assertFalse(is_wanted(make_delivery(envelope=Envelope(sender="")), recipient, action))

    def test_notify_is_obeyed(self) -> None:
        """RFC 3461 §4.1: without NOTIFY failures and delays are reported; with it, what it says."""
        for notify, wanted in (
            ("", [FAILED, DELAYED]),
            ("NEVER", []),
            ("FAILURE", [FAILED]),
            ("SUCCESS", [RELAYED]),
            ("SUCCESS,FAILURE", [FAILED, RELAYED]),
            ("delay", [DELAYED]),
        ):
            recipient = Recipient(address="a@x.org", notify=notify)
            told = [action for action in ACTIONS if is_wanted(make_delivery(), recipient, action)]
            self.assertEqual(told, wanted, notify)


class StatusTests(SynchronousTestCase):
    def test_a_code_fits_its_action(self) -> None:
        """``Status`` has a grammar and a class for each action; what does not fit says nothing."""
        for action, code, status in (
            (FAILED, "5.1.1", "5.1.1"),
            (FAILED, "4.4.7", "4.4.7"),
            (FAILED, "2.0.0", "5.0.0"),
            (FAILED, "5.1.1\r\nX: y", "5.0.0"),
            (FAILED, "5.1.٣", "5.0.0"),
            (DELAYED, "4.2.2", "4.2.2"),
            (DELAYED, "5.1.1", "4.0.0"),
            (RELAYED, "2.0.0", "2.0.0"),
            (RELAYED, "", "2.0.0"),
        ):
            reported = ReportedRecipient(
                recipient=Recipient(address="a@x.org"), action=action, why="", code=code
            )
            self.assertEqual(reported.status, status, (action, code))
