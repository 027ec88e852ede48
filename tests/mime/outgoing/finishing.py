"""Finishes mail for tests, in every way that there is to do so, and checks that all give the same."""

import binascii
import email
import email.message
import json
import re
from collections.abc import Iterable

from smtprelay.mime import outgoing
from smtprelay.mime.outgoing import Additions, Finishing, Plan
from smtprelay.mime.parse import TooComplexError, charset_guess, read
from smtprelay.mime.structure import parts_of
from smtprelay.model.route import NextHop
from smtprelay.model.shape import shape_of

#: What the relay writes before each mail of a client.
RECEIVED = (
    b"Received: from client.example ([192.0.2.1])\r\n"
    b"\tby relay.example.com (smtprelay) with ESMTP id 7QK2;\r\n"
    b"\tMon, 30 Nov 2026 08:44:25 +0000\r\n"
)
ADDITIONS = Additions(
    message_id="<7QK2@relay.example.com>", date="Mon, 30 Nov 2026 08:44:25 +0000", sender="ann@example.com"
)
#: All that :data:`ADDITIONS` are as fields, in their order.
ADDED = (
    b"Message-ID: <7QK2@relay.example.com>\r\n"
    b"Date: Mon, 30 Nov 2026 08:44:25 +0000\r\n"
    b"From: ann@example.com\r\n"
)
#: The header of a mail, and a text in a line too long for SMTP.
HEAD = ADDED + b"Subject: Hi\r\nMIME-Version: 1.0\r\n"
LONG = b"long " * 400

EIGHT_BIT = NextHop()
SEVEN_BIT = NextHop(eight_bit=False, raw_fields=False)
ASCII_FIELDS = NextHop(eight_bit=True, raw_fields=False)


#: A line that ends with a semicolon goes on in the next, also where that is not indented.
_FOREIGN_ID = re.compile(
    rb"^[ \t]*content-id[ \t]*:(?:.|\r\n[ \t]|;[ \t]*\r\n)*[^\0-\x7f]", re.IGNORECASE | re.MULTILINE
)


def mixed(*parts: bytes, kind: str = "mixed", extra: str = "") -> bytes:
    """Return a mail of ``parts``, each with its header."""
    head = f"Content-Type: multipart/{kind}; boundary=B\r\n{extra}\r\n".encode()
    return HEAD + head + b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--\r\n"


def text(content: bytes, kind: str = "text/plain; charset=utf-8") -> bytes:
    """Return a part."""
    return f"Content-Type: {kind}\r\n\r\n".encode() + content


def leaves(mail: bytes) -> list[email.message.Message]:
    """Return the parts without parts."""
    return [part for part in email.message_from_bytes(mail).walk() if not part.is_multipart()]


class Refused(Exception):  # noqa: N818 -- it says what became of the mail
    """The mail cannot be finished; ``code`` is the plan's."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan.refusal)
        self.code = plan.code


def plan(mail: bytes, hop: NextHop = EIGHT_BIT) -> Plan:
    """Return the plan, which is the same by the whole mail and, where that is enough, by the header."""
    shape = shape_of(mail)
    parameters = json.loads(json.dumps(outgoing.parameters_of(ADDITIONS, hop)))
    found = _carried(outgoing.plan_mail(mail, parameters))
    if hop.takes(shape):
        by_header = outgoing.plan_by_header(mail, shape, ADDITIONS, hop)
        assert (found.refusal, found.code) == (by_header.refusal, by_header.code)
        if not found.refusal:
            assert carry_out(by_header, [mail]) == carry_out(found, [mail]), (mail, hop)
            assert (found.size, found.eight_bit) == (by_header.size, by_header.eight_bit)
    unchanged = outgoing.unchanged_plan(mail, shape, hop)
    assert unchanged is None or found == unchanged, found
    return found


def _carried(result: tuple[object, bytes]) -> Plan:
    facts, inserted = result
    return outgoing.plan_of(json.loads(json.dumps(facts)), inserted)


def carry_out(planned: Plan, pieces: Iterable[bytes]) -> bytes:
    """Return what leaves."""
    finishing = Finishing(planned)
    return b"".join([*map(finishing.feed, pieces), finishing.end()])


def finish(mail: bytes, hop: NextHop = EIGHT_BIT) -> bytes:
    """
    Return the mail as it leaves, and check what the plan says of it.

    Raises :class:`Refused`.
    """
    planned = plan(mail, hop)
    if planned.refusal:
        raise Refused(planned)
    finished = carry_out(planned, [mail])
    shape = shape_of(finished)
    assert (planned.size, planned.eight_bit) == (shape.size, shape.eight_bit), (planned, shape)
    assert not planned.untouched or finished == mail
    return finished


def said(mail: bytes, *, ids: bool = True) -> tuple[str | None, str | None, list[tuple[object, ...]]] | None:
    """
    Return the texts of a mail, and of each attachment its name, type, id and content.

    ``None``: it is too complex. The content of a mail within the mail is what that says in turn.
    """
    try:
        found = read(mail)
    except TooComplexError:
        return None
    files = []
    for each in found.attachments:
        octets = binascii.a2b_base64(each.base64)
        is_mail = each.content_type in ("message/rfc822", "message/global")
        content = said(octets, ids=ids) if is_mail else octets
        files.append((each.name, each.content_type, each.content_id if ids else "", content))
    return found.text, found.html, files


def both_said(stored: bytes, finished: bytes, hop: NextHop) -> tuple[object, object]:
    """
    Return what a mail says before it is finished and after that: the same, but for two things left out here.

    An id that is not ASCII is not in the finished mail, as no header can carry it. And the charset of raw
    octets that nobody names is guessed by the encoded words of the header: where these are spelled anew, in
    UTF-8, and the raw octets may stay, it is guessed without them.
    """
    ids = _FOREIGN_ID.search(stored) is None
    before = said(stored, ids=ids)
    after = None if before is None else said(finished, ids=ids)
    if before != after and hop.eight_bit and _guess(stored) != _guess(finished):
        return None, None
    return before, after


def _guess(mail: bytes) -> str:
    return charset_guess(mail, parts_of(mail))


def sent(mail: bytes, hop: NextHop = EIGHT_BIT) -> bytes:
    """Finish what a client sent, with our Received before it, and return all that is behind that field."""
    finished = finish(RECEIVED + mail, hop)
    end = finished.index(b"+0000\r\n") + len(b"+0000\r\n")
    return finished[end:]
