"""Every pair of avatar and protocol that we promise, held to the one suite."""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from attrs import define, field
from twisted.cred.checkers import ANONYMOUS, AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.mail.smtp import (
    ESMTP,
    Address,
    IMessage,
    IMessageDelivery,
    SMTPBadRcpt,
    SMTPBadSender,
    SMTPFactory,
    SMTPServerError,
    User,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from smtprelay.model.credentials import IAnonymousClient
from smtprelay.model.message import Reply
from smtprelay.model.patterns import Patterns
from smtprelay.policy.checkers.anonymous import AnonymousByNetwork
from smtprelay.policy.realm import Realm
from smtprelay.smtp.factory import ESMTPFactory
from smtprelay.smtp.settings import ListenerSettings
from tests.behaviours.envelope_delivery import EnvelopeDeliveryBehaviour, Message, VotesBehaviour
from tests.policy.doubles import Store, make_rules
from tests.recording import Recording


@implementer(ICredentialsChecker)
@define
class Held:
    """A checker that answers as another one, but not before it is let."""

    checker: AnonymousByNetwork
    until: Deferred

    @property
    def credentialInterfaces(self) -> Sequence:
        return self.checker.credentialInterfaces

    def requestAvatarId(self, credentials: object) -> Deferred:
        return self.until.addCallback(lambda _: self.checker.requestAvatarId(credentials))


class OurAvatar:
    """Our avatar with its realm and its checker, over a store that keeps what came."""

    def setUp(self):
        self.store = Store()
        self.rules = make_rules(
            self.store, allow_senders=Patterns(["*@b.org"]), allow_recipients=Patterns(["*@y.org"])
        )
        self.checker = AnonymousByNetwork(self.rules.context.listener)

    def make_portal(self) -> Portal:
        return Portal(Realm(self.rules), [self.checker])

    def delivered(self) -> Sequence[Message]:
        return [
            Message(kept.draft.envelope.sender, list(kept.draft.envelope.addresses), kept.body)
            for kept in self.store.kept
            if kept.end == "finished"
        ]

    def aborted(self) -> int:
        return [kept.end for kept in self.store.kept].count("aborted")

    def answer(self, code: int) -> None:
        self.store.reply = Reply(code=code, enhanced=f"{code // 100}.0.0", text="As you wished")

    def hold(self) -> Deferred:
        self.checker = Held(self.checker, Deferred())
        return self.checker.until


@implementer(IMessage)
@define(eq=False)
class StockMessage:
    """A message as applications of ``twisted.mail`` write it, one for each recipient."""

    recipient: str
    code: int
    lines: list[bytes] = field(factory=list)
    end: str = ""

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred:
        self.end = "finished"
        done = Deferred()
        if self.code == 250:
            done.callback(None)
        else:
            done.errback(SMTPServerError(self.code, "As you wished"))
        return done

    def connectionLost(self) -> None:
        assert not self.end, "ended twice"
        self.end = "aborted"


@implementer(IMessageDelivery)
class StockApplication:
    """An application of ``twisted.mail``: senders ``*@b.org`` to ``*@y.org``."""

    def __init__(self) -> None:
        self.held: Deferred | None = None
        self.codes: Iterator[int] = iter([])
        self.begun: list[tuple[str, list[StockMessage]]] = []
        self.sender = ""

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Address) -> Address | Deferred:
        assert helo == (b"client.example", b"127.0.0.1"), helo
        if origin.domain not in (b"", b"b.org"):
            raise SMTPBadSender(origin, 553)
        self.sender = str(origin)
        self.begun.append((self.sender, []))
        return self.held.addCallback(lambda _: origin) if self.held else origin

    def validateTo(self, user: User) -> Callable[[], StockMessage]:
        if user.dest.domain != b"y.org":
            raise SMTPBadRcpt(user)
        return lambda: self.begin(str(user.dest))

    def receivedHeader(self, helo: tuple[bytes, bytes], _origin: Address, _recipients: list[User]) -> bytes:
        return b"Received: from %b\n\tby application" % helo[0]

    def begin(self, recipient: str) -> StockMessage:
        message = StockMessage(recipient, next(self.codes, 250))
        self.begun[-1][1].append(message)
        return message


@implementer(IRealm)
@define
class StockRealm:
    """A realm that knows ``IMessageDelivery`` and nothing of ours."""

    application: StockApplication

    def requestAvatar(self, _avatar_id: object, _mind: object, *interfaces: object) -> tuple:
        assert IMessageDelivery in interfaces
        return IMessageDelivery, self.application, lambda: None


@implementer(ICredentialsChecker)
class Anyone:
    """A checker that takes our anonymous credential as an existing application's would."""

    credentialInterfaces = (IAnonymousClient, IAnonymous)

    def requestAvatarId(self, _credentials: object) -> tuple[()]:
        return ANONYMOUS


class OurProtocol:
    """Our own factory, over whatever portal the avatar has."""

    def make_factory(self) -> IProtocolFactory:
        self.clock = Clock()
        settings = ListenerSettings(listener="lan", hostname="relay.example.com")
        return ESMTPFactory(self.make_portal(), settings, self.clock, Recording())

    def tearDown(self):
        """No session leaves a timer behind."""
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OursTests(OurAvatar, OurProtocol, EnvelopeDeliveryBehaviour, SynchronousTestCase):
    """Our avatar behind our protocol."""


class StockAvatarTests(OurProtocol, EnvelopeDeliveryBehaviour, VotesBehaviour, SynchronousTestCase):
    """An existing application of ``twisted.mail`` behind our protocol."""

    def setUp(self):
        self.application = StockApplication()

    def make_portal(self) -> Portal:
        return Portal(StockRealm(self.application), [Anyone(), AllowAnonymousAccess()])

    def delivered(self) -> Sequence[Message]:
        found = []
        for sender, messages in self.application.begun:
            taken = [message for message in messages if message.end == "finished"]
            if taken:
                bodies = {b"".join(line + b"\r\n" for line in message.lines) for message in taken}
                self.assertEqual(len(bodies), 1, "the recipients got different messages")
                found.append(Message(sender, [message.recipient for message in taken], bodies.pop()))
        return [Message(each.sender, each.recipients, _crlf(each.body)) for each in found]

    def aborted(self) -> int:
        return [each.end for _, messages in self.application.begun for each in messages].count("aborted")

    def answer(self, code: int) -> None:
        self.votes(code)

    def votes(self, *codes: int) -> None:
        self.application.codes = iter(codes)

    def hold(self) -> Deferred:
        self.application.held = Deferred()
        return self.application.held


def _crlf(body: bytes) -> bytes:
    """Give the application's folded header, which has bare LF as the stock one, the line ends of mail."""
    return body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class StockProtocolTests(OurAvatar, EnvelopeDeliveryBehaviour, SynchronousTestCase):
    """Our avatar behind the protocol of ``twisted.mail.smtp``."""

    differs: ClassVar = {
        "temporary failure": (550, "it answers every failure at the end of data with 550"),
        "permanent failure": (550, "it answers every failure at the end of data with 550"),
        "replies before a late one": ([503, 503], "it runs RCPT while MAIL is not answered yet"),
        "replies with a late one": ([503, 503, 250], "so MAIL is answered last"),
    }

    def make_factory(self) -> IProtocolFactory:
        factory = SMTPFactory(self.make_portal())
        factory.protocol = ESMTP
        return factory

    def tearDown(self):
        """The stock protocol logs each failure at the end of data as an error."""
        self.flushLoggedErrors(SMTPServerError)
