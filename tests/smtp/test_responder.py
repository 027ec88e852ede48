"""What the responder does with content in chunks."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Client
from smtprelay.smtp import reply
from smtprelay.smtp.command import Command
from smtprelay.smtp.events import END_OF_CHUNK, END_OF_DATA, Content
from smtprelay.smtp.responder import Responder
from tests.smtp.doubles import NO, TAKEN, Site


class Chunks(SynchronousTestCase):
    def setUp(self):
        site = Site()
        settings = site.factory.settings
        self.responder = Responder(site.portal, settings, site.events, Client(address="192.0.2.7"))
        self.successResultOf(self.responder.answer(Command("MAIL", "a@x.test")))
        self.responder.answer(Command("RCPT", "b@x.test"))
        self.responder.answer(Command("BDAT", "3"))
        [self.inbox] = site.desk.inboxes
        self.assertEqual(self.end(b"one", END_OF_CHUNK), reply.OK)

    def end(self, data: bytes, end: str):
        return self.successResultOf(self.responder.handle_content(Content(data, end, None)))

    def test_one_message(self):
        """Each chunk is answered when it is kept, the last one with the verdict on the whole."""
        self.inbox.slow = Deferred()
        late = self.responder.handle_content(Content(b"two", END_OF_CHUNK, None))
        self.assertNoResult(late)
        self.inbox.slow.callback(None)
        self.assertEqual((self.successResultOf(late), self.inbox.state), (reply.OK, "open"))
        self.inbox.slow = None
        self.assertEqual(self.end(b"three", END_OF_DATA), TAKEN)
        self.assertEqual((self.inbox.body, self.inbox.state), (b"onetwothree", "finished"))

    def test_forgotten(self):
        """RSET, EHLO and a chunk that is refused abort the message, each once."""
        for command in (Command("RSET"), Command("EHLO", "x"), None):
            self.setUp()
            if command is None:
                self.assertEqual(self.responder.handle_content(Content(b"", END_OF_CHUNK, NO)), NO)
            else:
                self.responder.answer(command)
            self.assertEqual(self.inbox.state, "aborted")
            self.responder.leave()
