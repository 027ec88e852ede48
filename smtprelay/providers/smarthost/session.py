"""
One session with an SMTP server, and the messages that go through it one by one.

A message costs two round trips: MAIL, RCPT and DATA in one write where the server
takes that (RFC 2920), then body and dot in another.
"""

from collections.abc import Mapping

from attrs import field, frozen

from smtprelay.interfaces import Body
from smtprelay.model.message import Envelope
from smtprelay.model.outcome import TOO_LARGE, Deferred, Delivered, Failed, Outcome, Results, Uncertain
from smtprelay.model.route import NextHop
from smtprelay.providers.outgoing import FinishedBody
from smtprelay.providers.smarthost.commands import Extensions, Unsendable, mail, rcpt
from smtprelay.providers.smarthost.connection import CLOSING, Channel, Lost
from smtprelay.providers.smarthost.dot_stuffing import DotStuffer
from smtprelay.providers.smarthost.errors import NotAccepted, of_mail, of_message, of_recipients
from smtprelay.providers.smarthost.replies import ServerReply
from smtprelay.providers.smarthost.server_settings import Timeouts

#: Bodies up to this size leave in one write; what is larger is streamed.
WHOLE = 256 * 1024
GO_ON = 354
DATA = b"DATA\r\n"
RSET = b"RSET\r\n"


@frozen
class MessageCommands:
    """
    The commands of one message.

    :ivar addresses: whom ``rcpts`` ask for, in their order.
    :ivar unsendable: the recipients whose addresses cannot be sent to this server.
    """

    mail: bytes
    rcpts: tuple[bytes, ...]
    addresses: tuple[str, ...]
    unsendable: Mapping[str, Outcome] = field(factory=dict)


class SmarthostSession:
    """
    A session that was begun by :func:`smtprelay.providers.smarthost.handshake.begin`.

    :ivar messages: how many messages it was used for.
    :ivar usable: whether it may carry another one.
    :ivar out_of_step: it ended within its first group of commands: the server may not take groups.
    """

    def __init__(self, channel: Channel, extensions: Extensions, timeouts: Timeouts) -> None:
        self.channel = channel
        self.messages = 0
        self.out_of_step = False
        self._extensions = extensions
        self._timeouts = timeouts
        self._busy = False
        self._reset = False

    @property
    def usable(self) -> bool:
        """Whether it may carry another message."""
        return not self._busy and self.channel.alive and self.channel.last != CLOSING

    async def send(self, envelope: Envelope, body: Body) -> Results:
        """
        Send one message once; return what became of each recipient.

        Raises :class:`NotAccepted` when nothing was sent, for a reason that holds for
        all recipients, and :class:`Lost` when the connection ended before the body.

        :param body: a :class:`FinishedBody` is one for the :meth:`next_hop`.
        """
        whole = await body.whole() if body.size <= WHOLE else None
        transaction = self._transaction(envelope, body, whole)
        results = dict(transaction.unsendable)
        if not transaction.rcpts:
            return results
        self.messages += 1
        self._busy = True
        mail_answer, *answers = await self._offer(transaction)
        self.channel.answered()
        if not mail_answer.positive:
            refusal = of_mail(self.channel.host, "the sender", mail_answer)
            if mail_answer.code == CLOSING and self.messages > 1:
                raise Lost(refusal.why)  # it had enough of this connection: another one may do
            await self._withdraw(answers)
            raise NotAccepted(refusal)
        count = len(transaction.rcpts)
        host = self.channel.host
        accepted, refused = of_recipients(host, transaction.addresses, answers[:count])
        results.update(refused)
        if accepted and answers[count].code == GO_ON:
            results.update(dict.fromkeys(accepted, await self._message(body, whole)))
            return results
        await self._withdraw(answers)
        if accepted:
            results.update(dict.fromkeys(accepted, of_mail(host, "DATA", answers[count])))
        return results

    async def try_sender(self, sender: str) -> Outcome:
        """Offer a sender, withdraw it, and return what the server said. Raises :class:`Lost`."""
        try:
            line = mail(Envelope(sender=sender, recipients=()), self._extensions, 0, eight_bit=False)
        except Unsendable as error:
            return Failed(str(error), error.code)
        answer = await self._command(line)
        if not answer.positive:
            return of_mail(self.channel.host, f"the sender <{sender}>", answer)
        await self._command(RSET)
        return Delivered(why=str(answer))

    # --- the envelope

    def next_hop(self, envelope: Envelope) -> NextHop:
        """Return what the server takes."""
        # A client that asked for SMTPUTF8 knows what raw header fields are; others have always sent them.
        raw_fields = self._extensions.utf8 or "SMTPUTF8" not in envelope.parameters
        eight_bit = self._extensions.eight_bit
        return NextHop(eight_bit=eight_bit, raw_fields=eight_bit and raw_fields)

    def _transaction(self, envelope: Envelope, body: Body, whole: bytes | None) -> MessageCommands:
        size = body.size
        if self._extensions.size and size > self._extensions.size:
            why = f"the message has {size} bytes, {self.channel.host} takes {self._extensions.size}"
            raise NotAccepted(Failed(why, TOO_LARGE))
        # A streamed body is not read twice to find out: declared as 8-bit it may hold 7-bit text as well.
        unknown = whole is None or not whole.isascii()
        eight_bit = body.eight_bit if isinstance(body, FinishedBody) else unknown
        try:
            mail_line = mail(envelope, self._extensions, size, eight_bit=eight_bit)
        except Unsendable as error:
            raise NotAccepted(Failed(str(error), error.code)) from error
        rcpts, addresses, unsendable = [], [], {}
        for recipient in envelope.recipients:
            try:
                rcpts.append(rcpt(recipient, self._extensions))
            except Unsendable as error:
                unsendable[recipient.address] = Failed(str(error), error.code)
            else:
                addresses.append(recipient.address)
        return MessageCommands(mail_line, tuple(rcpts), tuple(addresses), unsendable)

    async def _offer(self, transaction: MessageCommands) -> list[ServerReply]:
        """Return the answers to MAIL, each RCPT and DATA; fewer when a refusal made the rest pointless."""
        if self._reset:
            self._reset = False
            await self._command(RSET)
        if not self._extensions.pipelining:
            return await self._offer_slowly(transaction)
        group = b"".join((transaction.mail, *transaction.rcpts, DATA))
        try:
            return await self.channel.ask(group, len(transaction.rcpts) + 2, self._timeouts.command)
        except Lost:
            self.out_of_step = self.messages == 1
            raise

    async def _offer_slowly(self, transaction: MessageCommands) -> list[ServerReply]:
        answers = [await self._command(transaction.mail)]
        if answers[0].positive:
            answers += [await self._command(line) for line in transaction.rcpts]
            if any(answer.positive for answer in answers[1:]):
                answers.append(await self._command(DATA))
        return answers

    async def _command(self, line: bytes) -> ServerReply:
        return (await self.channel.ask(line, 1, self._timeouts.command))[0]

    async def _withdraw(self, answers: list[ServerReply]) -> None:
        """End a transaction that carries no message, so that the session can go on."""
        if answers and answers[-1].code == GO_ON:
            # Pipelined, the server waits for a message without recipients: an empty one (RFC 2920 §3.1).
            try:
                await self._command(b".\r\n")
            except Lost:
                return
        else:
            self._reset = True
        self._busy = False

    # --- the message

    async def _message(self, body: Body, whole: bytes | None) -> Outcome:
        ended = False
        stuffer = DotStuffer()
        try:
            if whole is not None:
                lines = stuffer.feed(whole) + stuffer.end()
            elif await self.channel.stream(body.chunks(), stuffer.feed, self._timeouts.data):
                lines = stuffer.end()
            else:
                return await self._interrupted()
            ended = True
            [answer] = await self.channel.ask(lines, 1, self._timeouts.final, "message")
        except Lost as lost:
            if ended:
                return Uncertain(f"it is not known whether the message was taken: {lost}")
            return Deferred(f"the message was not taken: {lost}")
        self._busy = False
        return of_message(self.channel.host, answer, reports=self._extensions.dsn)

    async def _interrupted(self) -> Outcome:
        """The server spoke before the message was whole; nothing can follow that on this connection."""
        answer = await self._command(b"")
        self.channel.abort("the server answered before the end of the message")
        return of_mail(self.channel.host, "the message", answer)
