"""
What clients are refused: each negative reply becomes one event, whichever layer it came from.

Of a client that makes many mistakes at once only the first are told one by one; from then on what is alike
is added up and told together a little later, with its ``count``, some in each turn of the reactor. So a
flood costs neither the log nor the memory, and nothing is missing in the sums. Where too many clients make
mistakes at once, those that come last are told as one without an address.
"""

import re
from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtprelay.interfaces import Events
from smtprelay.message import Client, Reply
from smtprelay.model.network import counted_as
from smtprelay.smtp.command import VERBS
from smtprelay.smtp.event import END_OF_DATA, RESPONSE, UNKNOWN

if TYPE_CHECKING:
    from smtprelay.smtp.dialogue import Dialogue
    from smtprelay.smtp.session import Session

#: So many refusals of one client are told one by one in each :data:`PERIOD`.
ONE_BY_ONE: Final = 20
#: Seconds.
PERIOD: Final = 10.0
#: So many kinds of refusals of one client are kept apart, and of all together.
_MOST_KINDS: Final = 50
MOST_TOGETHER: Final = 2000
#: So many clients are known.
MOST_CLIENTS: Final = 10_000
#: So many of those that were added up are told in one turn.
IN_A_TURN: Final = 50

#: Characters of what a client said that are told.
LONGEST_COMMAND: Final = 200
LONGEST_USER: Final = 100
_LONGEST_DOMAIN: Final = 255
_LONGEST_TEXT: Final = 500

#: Names of mechanisms, and nothing else, may be told of an AUTH.
_MECHANISM: Final = re.compile(
    rb"(PLAIN|LOGIN|CRAM-MD5|DIGEST-MD5|SCRAM-SHA-\d+(-PLUS)?|XOAUTH2?|OAUTHBEARER|NTLM|GSSAPI|EXTERNAL)\b",
    re.IGNORECASE,
)
_SENDER: Final = re.compile(r"FROM:\s*<?[^<>]*@([^<>@\s]+)", re.IGNORECASE)
_VERB: Final = re.compile(rb"[A-Za-z]{1,12}\b")
#: The arguments that may be told: a path in brackets, which may be cut, with its parameters; a client's name.
_ENVELOPE: Final = re.compile(
    rb"(MAIL +FROM|RCPT +TO): *<([^<>]*>( +[A-Z0-9-]+=[^ ]*)*|[^<>\s]*$)", re.IGNORECASE
)
_NAME: Final = re.compile(rb"(EHLO|HELO) +[^ ]+ *$", re.IGNORECASE)

_STAGES: Final = {
    "EHLO": "helo",
    "HELO": "helo",
    "STARTTLS": "tls",
    "AUTH": "auth",
    RESPONSE: "auth",
    "MAIL": "mail",
    "RCPT": "rcpt",
    "DATA": "data",
    END_OF_DATA: "content",
}

#: Where the last words of a session are said to whoever has not said anything yet, or goes on too long.
_CONNECT, _SESSION, _COMMAND = "connect", "session", "command"
_GOODBYE: Final = 421


def command_shown(line: bytes, *, secret: bool = False) -> str:
    """
    Return what may be told of a client's line: it is short, printable, and has no password in it.

    Nor has it words of a message, which come as commands where DATA was refused and the client goes on.

    :param secret: the client was about to log in before: a line that is no command may be a password.
    """
    beginning = line[:LONGEST_COMMAND]
    verb, _, rest = beginning.lstrip().partition(b" ")
    name = verb.upper()
    if name[:4] == b"AUTH":
        mechanism = _MECHANISM.match(rest.lstrip())
        return f"AUTH {mechanism[0].decode().upper()}" if mechanism else "AUTH"
    if name.decode("latin-1") in VERBS:
        told = _ENVELOPE.match(beginning) or _NAME.match(beginning)
        return printable(told[0] if told else verb, LONGEST_COMMAND)
    # Devices say USER and PASS to any port, and go on with a login that was refused.
    found = None if secret else _VERB.match(beginning)
    return found[0].decode() if found else f"({len(line)} octets that are no command)"


def printable(text: bytes | str, longest: int) -> str:
    """Return ``text`` cut and on one line."""
    if isinstance(text, bytes):
        text = text[: 4 * longest].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:longest])


@frozen
class FailedLogin:
    """What a client claimed that failed to log in; nobody has believed it."""

    mechanism: str
    user: str


@define
class _Told:
    """One refusal, or several that are alike."""

    client: Client
    stage: str
    reply: Reply
    command: str = ""
    user: str = ""
    mechanism: str = ""
    domain: str = ""
    count: int = 1

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it like another one of the same client."""
        told, reply = self, self.reply
        return (
            told.client.listener,
            told.stage,
            reply.rule,
            f"{reply.code}",
            reply.enhanced,
            told.user,
            told.domain,
        )


@define
class _Client:
    """What one client was refused in this period."""

    since: float
    left: int = ONE_BY_ONE
    kept: dict[tuple[str, ...], _Told] = field(factory=dict)


class Refusals:
    """
    Tells what the clients of one listener are refused, as ``smtp.refused`` and ``auth.failed``.

    :param clock: also calls when what was added up is to be told.
    """

    def __init__(self, clock: IReactorTime, events: Events) -> None:
        self._clock = clock
        self._events = events
        self._clients: dict[str, _Client] = {}
        self._others = _Client(0.0, left=0)  # those for whom there was no room
        self._looked_through = -PERIOD  # when clients were forgotten to make room
        self._kinds = 0  # so many are kept, of all
        self._due: deque[_Told] = deque()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def tell(self, verb: str, reply: Reply, session: "Session", dialogue: "Dialogue") -> None:
        """
        Tell of one negative reply.

        :param verb: that it answers, or one of the words of :mod:`smtprelay.smtp.event`.
        """
        client, login = dialogue.client, dialogue.failed_login()
        command = command_shown(session.said, secret=session.logs_in) if session.said else ""
        stage = _stage(verb, reply, command)
        told = _Told(
            client=client,
            stage=stage,
            command=command,
            reply=reply,
            user=login.user if login else client.user,
            mechanism=login.mechanism if login else "",
            domain=_domain(stage, command, dialogue.sender),
        )
        self._tell(told)

    def turned_away(self, client: Client, reply: Reply) -> None:
        """Tell of a connection that was ended with ``reply`` before there was a session."""
        self._tell(_Told(client=client, stage=_CONNECT, reply=reply))

    def _tell(self, told: _Told) -> None:
        known = self._known(counted_as(told.client.address))
        if known.left > 0 or self._stopped:
            known.left -= 1
            self._say(told)
        else:
            self._keep(known, told)
            if self._timer is None:
                self._timer = self._clock.callLater(PERIOD, self._flush)

    def _keep(self, known: _Client, told: _Told) -> None:
        """Add a refusal to those that are like it; the newest stands for all."""
        if len(known.kept) >= _MOST_KINDS:
            told.user, told.domain = "", ""
        if known is self._others or (self._kinds >= MOST_TOGETHER and told.key not in known.kept):
            known = self._others
            told = evolve(told, client=evolve(told.client, address=""), user="", domain="")
        same = known.kept.get(told.key)
        if same is None:
            self._kinds += 1
        else:
            told.count += same.count
        known.kept[told.key] = told

    def stop(self) -> None:
        """Tell what was added up; from now on all is told at once."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
            while self._due:
                self._say(self._due.popleft())

    def _flush(self) -> None:
        for each in (*self._clients.values(), self._others):
            self._due.extend(each.kept.values())
        self._clients.clear()
        self._others.kept.clear()
        self._kinds = 0
        if not self._stopped:
            self._turn()

    def _turn(self) -> None:
        """Tell some of what is due; what is kept meanwhile has its time after it."""
        self._timer = None
        for _ in range(min(IN_A_TURN, len(self._due))):
            self._say(self._due.popleft())
        if self._due:
            self._timer = self._clock.callLater(0, self._turn)
        elif self._kinds:
            self._timer = self._clock.callLater(PERIOD, self._flush)

    def _known(self, network: str) -> _Client:
        now = self._clock.seconds()
        known = self._clients.get(network)
        if known is not None and (known.kept or now < known.since + PERIOD):
            return known
        if len(self._clients) >= MOST_CLIENTS and now >= self._looked_through + PERIOD:
            self._looked_through = now
            self._clients = {
                name: each for name, each in self._clients.items() if each.kept or now < each.since + PERIOD
            }
        if len(self._clients) >= MOST_CLIENTS and known is None:
            return self._others
        known = self._clients[network] = _Client(now)
        return known

    def _say(self, told: _Told) -> None:
        reply = told.reply
        status = f"{reply.code} {reply.enhanced}".strip() if reply.code else ""
        fields = {
            "listener": told.client.listener,
            "client": told.client.address,
            "stage": told.stage,
            "command": told.command,
            "status": status,
            "text": printable(reply.text, _LONGEST_TEXT),
            "rule": reply.rule or "other",
            "user": told.user,
            "domain": told.domain,
            "count": told.count,
        }
        if told.mechanism:
            self._events("auth.failed", mechanism=told.mechanism, **fields)
        else:
            self._events("smtp.refused", **fields)


def _stage(verb: str, reply: Reply, command: str) -> str:
    if verb == UNKNOWN and (reply.code == _GOODBYE or not reply.code):
        return _SESSION if command else _CONNECT
    return _STAGES.get(verb, _COMMAND)


def _domain(stage: str, command: str, sender: str) -> str:
    if stage == "mail":
        found = _SENDER.search(command)
        return found[1].lower()[:_LONGEST_DOMAIN] if found else ""
    if stage not in ("rcpt", "data", "content"):
        return ""
    return printable(sender.rpartition("@")[2].lower(), _LONGEST_DOMAIN)
