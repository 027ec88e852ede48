r"""
Dialogues in files: what a client says, and each reply that the RFC, or our own rule, wants.

A dialogue begins with ``[state] title -- section``; ``[state@profile]`` names settings of :data:`PROFILES`.
What leads to a state is in :data:`STATES`. Then come ``C:`` lines, in which ``\xNN`` and the like are octets,
``((a*300))`` is a repetition, and a ``\c`` at the end leaves out the CRLF; and ``S:`` lines, one for each
reply, with its beginning. ``S+`` and ``S-`` tell of a line that the last reply must or must not have;
``S: closed`` that the server closes the connection. ``M:`` is a message that was taken, ``M: none`` that
there was none.

Each runs in one segment, in lines, and octet by octet, in plain and within TLS.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from attrs import field, frozen
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.net.tls_server import ServerContext
from smtprelay.testing.certificates import make_certificate
from tests.recording import Recording
from tests.smtp.doubles import Line, Names, Site, refused
from tests.smtp.secure_line import SecureLine, client_context
from tests.smtp.test_starttls import Contexts, Upgradable

FILES: Final = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))

#: What was said before, with the codes of its replies.
STATES: Final[Mapping[str, Sequence[tuple[str, str]]]] = {
    "fresh": (),
    "ready": (hello := ("EHLO c.test", "250"),),
    "helo": (("HELO c.test", "250"),),
    "sender": (hello, mail := ("MAIL FROM:<a@x.test>", "250")),
    "utf8": (hello, ("MAIL FROM:<a@x.test> SMTPUTF8", "250")),
    "recipients": (hello, mail, rcpt := ("RCPT TO:<b@x.test>", "250")),
    "refused": (hello, mail, ("RCPT TO:<no@x.test>", "550")),
    "content": (hello, mail, rcpt, ("DATA", "354")),
    "chunks": (hello, mail, rcpt, (r"BDAT 4\r\nab\r\n\c", "250")),
    "sent": (hello, mail, rcpt, (r"DATA\r\nx\r\n.", "354 250")),
    "user": (hello, ("AUTH PLAIN AGpvZQBzM2NyZXQ=", "235")),
    "challenged": (hello, ("AUTH LOGIN", "334")),
    "password": (hello, ("AUTH LOGIN am9l", "334")),
}

_LOGIN: Final = {"mechanisms": ("PLAIN", "LOGIN"), "auth_allow_plaintext": True}
_PLAIN, _TLS = ("plain",), ("TLS",)

#: Settings, and where they make sense.
PROFILES: Final[Mapping[str, tuple[Mapping[str, Any], Sequence[str]]]] = {
    "": ({}, (*_PLAIN, *_TLS)),
    "small": ({"size": 100, "recipients": 2, "hops": 2, "header_size": 80}, (*_PLAIN, *_TLS)),
    "login": (_LOGIN, (*_PLAIN, *_TLS)),
    "named": ({**_LOGIN, "anonymous": False}, (*_PLAIN, *_TLS)),
    "refuse": ({"bare_newlines": "refuse"}, (*_PLAIN, *_TLS)),
    "accept": ({"bare_newlines": "accept", "bare_newlines_from": ("192.0.2.7",)}, (*_PLAIN, *_TLS)),
    "strict": ({"errors": 3}, (*_PLAIN, *_TLS)),
    "few": ({"commands": 4}, (*_PLAIN, *_TLS)),
    "proxy": ({"xclient_from": ("192.0.2.7",)}, (*_PLAIN, *_TLS)),
    "nodsn": ({"dsn": False}, (*_PLAIN, *_TLS)),
    "never": ({}, _PLAIN),
    "starttls": ({"tls": Contexts()}, _PLAIN),
    "hidden": ({"tls": Contexts(), "mechanisms": ("PLAIN",), "anonymous": False}, _PLAIN),
    "required": ({"tls": Contexts(), "tls_require": "always", "mechanisms": ("PLAIN",)}, _PLAIN),
    "within": ({"mechanisms": ("PLAIN",), "anonymous": False, "tls_require": "always"}, _TLS),
}

ANSWERS: Final = {
    ("mail", "no@x.test"): refused(),
    ("rcpt", "no@x.test"): refused(),
    ("rcpt", "later@x.test"): refused(Reply(code=450, enhanced="4.2.1", text="later")),
    ("rcpt", "broken@x.test"): RuntimeError("a bug"),
}

_HEAD: Final = re.compile(r"\[(?P<state>\w+)(?:@(?P<profile>\w+))?\] (?P<title>.+) -- (?P<section>.+)")
_REPEATED: Final = re.compile(r"\(\((.+?)\*(\d+)\)\)")


@frozen
class Dialogue:
    """One of a file."""

    place: str
    state: str
    profile: str
    said: list[str] = field(factory=list)
    expected: list[str] = field(factory=list)
    messages: list[str] = field(factory=list)

    @property
    def lines(self) -> list[bytes]:
        """What the client sends, with what leads to the state."""
        return [octets(text) for text in (*(text for text, _ in STATES[self.state]), *self.said)]

    @property
    def codes(self) -> list[str]:
        """The replies that lead to the state."""
        return " ".join(code for _, code in STATES[self.state]).split()


def octets(text: str) -> bytes:
    """Return what a ``C:`` line stands for."""
    end = "" if text.endswith(r"\c") else r"\r\n"
    text = _REPEATED.sub(lambda found: found[1] * int(found[2]), text.removesuffix(r"\c")) + end
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def dialogues(file: Path) -> Iterator[Dialogue]:
    """Give the dialogues of a file."""
    found: Dialogue | None = None
    for number, line in enumerate(file.read_text("ascii").splitlines(), start=1):
        if head := _HEAD.fullmatch(line):
            if found is not None:
                yield found
            found = Dialogue(f"{file.name}:{number}: {head['title']}", head["state"], head["profile"] or "")
        elif line[:2] in ("C:", "S:", "S+", "S-", "M:"):
            assert found is not None, line
            text = line[3:]  # of "C:" alone it is an empty line
            {"C:": found.said, "M:": found.messages}.get(line[:2], found.expected).append(
                text if line[:2] in ("C:", "M:") else line
            )
        else:
            assert not line or line.startswith("#"), f"{file.name}:{number}: {line}"
    if found is not None:
        yield found


def replies(lines: Sequence[str]) -> list[list[str]]:
    """Return the replies in ``lines``, each with its lines."""
    found: list[list[str]] = [[]]
    for line in lines:
        found[-1].append(f"{line[:3]} {line[4:]}")
        if line[3:4] != "-":
            found.append([])
    return found[:-1]


SEGMENTATIONS: Final[Mapping[str, Callable[[Sequence[bytes]], Sequence[bytes]]]] = {
    "one segment": lambda lines: [b"".join(lines)],
    "lines": lambda lines: lines,
    "octets": lambda lines: [bytes([octet]) for octet in b"".join(lines)],
}


@cache
def contexts() -> tuple[ServerContext, SSL.Context]:
    """Return the TLS of both ends."""
    with TemporaryDirectory() as folder:
        return ServerContext([make_certificate(folder).source], Clock(), Recording()), client_context()


class DialogueTests(SynchronousTestCase):
    def connect(self, site: Site, kind: str) -> Line | SecureLine:
        if kind == "plain":
            line = site.connect()
            line.transport.__class__ = Upgradable
            return line
        return SecureLine(site.factory, *contexts())

    def run_one(self, dialogue: Dialogue, kind: str, segments: Sequence[bytes]) -> str:
        """Return what was wrong."""
        settings = dict(PROFILES[dialogue.profile][0])
        if kind == "TLS":
            settings |= {"tls": Contexts(), "tls_implicit": True}
        site = Site(Names({b"joe": b"s3cret"}), **{"size": 2000, **settings})
        site.desk.answers |= ANSWERS
        line = self.connect(site, kind)
        heard = [*line.banner, *line.send_all(segments)]
        found = replies(heard)
        wrong = list(compared(dialogue, found, closed=line.closed))
        taken = [repr(each.body)[2:-1] for each in site.desk.inboxes if each.state == "finished"]
        if dialogue.messages and taken != [each for each in dialogue.messages if each != "none"]:
            wrong.append(f"taken: {taken}")
        if site.events.of("session.failed") and "broken" not in "".join(dialogue.said):
            wrong.append(f"{site.events.of('session.failed')}")
        return "; ".join(wrong)

    def check(self, file: Path, kind: str) -> None:
        wrong = [
            f"{dialogue.place} ({name}, {kind}): {told}"
            for dialogue in dialogues(file)
            if kind in PROFILES[dialogue.profile][1]
            for name, cut in SEGMENTATIONS.items()
            if (told := self.run_one(dialogue, kind, cut(dialogue.lines)))
        ]
        self.assertEqual(wrong, [], "\n".join(wrong))

    def test_as_many_as_promised(self):
        """There are enough of them, and no two are the same."""
        found = [each for file in FILES for each in dialogues(file)]
        self.assertGreaterEqual(len(found), 400)
        same = [(each.state, each.profile, *each.said) for each in found]
        twice = [each.place for n, each in enumerate(found) if same[n] in same[:n]]
        self.assertEqual(twice, [])


def compared(dialogue: Dialogue, found: list[list[str]], *, closed: bool) -> Iterator[str]:
    """Give what is wrong with the replies."""
    expected = [f"S: {code}" for code in ["220", *dialogue.codes]] + dialogue.expected
    wanted = [each for each in expected if each.startswith("S: ") and each != "S: closed"]
    if len(wanted) != len(found):
        yield f"{len(wanted)} replies expected, {found}"
        return
    at = iter(found)
    reply: list[str] = []
    for each in expected:
        kind, text = each[:2], each[3:]
        if text == "closed":
            continue
        if kind == "S:":
            reply = next(at)
            if not f"{reply[-1]} ".startswith(f"{text} ") and not reply[-1].startswith(f"{text} "):
                yield f"{text} expected, {reply}"
        elif (text in [line[4:] for line in reply]) is not (kind == "S+"):
            yield f"{each} expected, {reply}"
    if closed is not ("S: closed" in dialogue.expected):
        yield "closed" if closed else "not closed"


def made(file: Path, kind: str) -> Callable[[DialogueTests], None]:
    """Return the test of a file."""

    def test(self: DialogueTests) -> None:
        """Each reply is the one that is written there, however the octets come."""
        self.check(file, kind)

    return test


for each in FILES:
    for where in ("plain", "TLS"):
        setattr(DialogueTests, f"test_{each.stem}_{where}", made(each, where))
