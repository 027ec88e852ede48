"""
What a mail becomes as a request, row by row of the tables in ``docs/fidelity.rst``.

Each row is a test: each mail goes through both providers that take JSON, and what their services have
accepted is compared.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import TOO_LARGE, Failed, Results
from smtprelay.model.route import Limits
from tests.providers.acs_wiring import JoinedAcs, delivery
from tests.providers.resend_wiring import JoinedResend

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "fidelity.rst"
ANN, BOB, CY = "ann@mail.example.com", "bob@example.net", "cy@example.net"
OCTETS: Final = "application/octet-stream"
HEAD: Final = f"From: Ann <{ANN}>\nTo: Bob <{BOB}>\nSubject: Hi\n"

#: The rows that have a test.
ROWS: Final[dict[str, str]] = {}

Test = Callable[[Any], None]


def row(name: str) -> Callable[[Test], Test]:
    """Mark a test as that of a row, by the text in its first column."""

    def mark(test: Test) -> Test:
        ROWS[name] = test.__name__
        return test

    return mark


@frozen(kw_only=True)
class File:
    """An attachment as a service got it; Resend gets no type."""

    name: str
    content: bytes
    kind: str = ""
    content_id: str = ""


@frozen(kw_only=True)
class Arrived:
    """One request, in terms that both services have."""

    request: Mapping[str, Any]
    subject: str
    text: str | None
    html: str | None
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    headers: Mapping[str, str]
    files: list[File]

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.files]


def by_acs(mail: bytes, *recipients: str, **options: Any) -> tuple[list[Arrived], Results]:
    """Return what Azure Communication Services accepted, and the outcomes."""
    joined = JoinedAcs(accept_on="202", **options)
    done: list[Results] = []
    joined.start(delivery(*recipients or (BOB,)), mail).addCallback(done.append)
    return [_of_acs(each) for each in joined.sent()], done[0]


def _of_acs(request: Mapping[str, Any]) -> Arrived:
    def people(which: list[Mapping[str, str]]) -> list[str]:
        return [f"{who.get('displayName', '')} <{who['address']}>".strip() for who in which]

    content, lists = request["content"], request["recipients"]
    return Arrived(
        request=request,
        subject=content["subject"],
        text=content.get("plainText"),
        html=content.get("html"),
        to=people(lists["to"]),
        cc=people(lists.get("cc", [])),
        bcc=people(lists.get("bcc", [])),
        reply_to=people(request.get("replyTo", [])),
        headers=request.get("headers", {}),
        files=[
            File(
                name=each["name"],
                content=base64.b64decode(each["contentInBase64"]),
                kind=each["contentType"],
                content_id=each.get("contentId", ""),
            )
            for each in request.get("attachments", ())
        ],
    )


def by_resend(mail: bytes, *recipients: str, **options: Any) -> tuple[list[Arrived], Results]:
    """Return the same of Resend."""
    joined = JoinedResend(**options)
    results = joined.deliver(*recipients, body=mail)
    return [_of_resend(dict(each.request)) for each in joined.fake.mails], results


def _of_resend(request: Mapping[str, Any]) -> Arrived:
    def people(field: str) -> list[str]:
        return [who if "<" in who else f"<{who}>" for who in request.get(field, ())]

    return Arrived(
        request=request,
        subject=request["subject"],
        text=request.get("text"),
        html=request.get("html"),
        to=people("to"),
        cc=people("cc"),
        bcc=people("bcc"),
        reply_to=people("reply_to"),
        headers=request.get("headers", {}),
        files=[
            File(
                name=each["filename"],
                content=base64.b64decode(each["content"]),
                content_id=each.get("content_id", ""),
            )
            for each in request.get("attachments", ())
        ],
    )


def written(text: str, head: str = HEAD) -> bytes:
    """Return a mail with CRLF; ``text`` begins with the rest of its header."""
    return (head + text).replace("\n", "\r\n").encode()


def multipart(subtype: str, *parts: str, head: str = HEAD, more: str = "") -> bytes:
    """Return a mail of these parts, each with its header."""
    content = "".join(f"--b\n{part}\n" for part in parts)
    return written(f"Content-Type: multipart/{subtype}; boundary=b{more}\n\n{content}--b--\n", head)


def first_column(text: str) -> Iterator[str]:
    """Give what stands in the first column of each row of the tables in ``text``."""
    for table in re.findall(r"^(?:=+ =+\n)(?:.*\n)(=+) =+\n((?:.+\n)+?)=+ =+$", text, re.MULTILINE):
        width = len(table[0])
        yield from (line[:width].strip() for line in table[1].splitlines() if line[:width].strip())


TEXT: Final = "Content-Type: text/plain\n\nhello"
CALENDAR: Final = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR"
PICTURE: Final = "Content-Type: image/png\nContent-Transfer-Encoding: base64\n"


class FidelityTests(SynchronousTestCase):
    def both(self, mail: bytes, *recipients: str) -> tuple[Arrived, Arrived]:
        """Return the one request that either service got: the same, but for what only one of them has."""
        acs, resend = (by(mail, *recipients)[0] for by in (by_acs, by_resend))
        self.assertEqual((len(acs), len(resend)), (1, 1))
        return acs[0], resend[0]

    def files(self, mail: bytes) -> Mapping[str, str]:
        """Return name and type of the files, which both services got alike; of Resend no type."""
        acs, resend = self.both(mail)
        self.assertEqual((acs.text, acs.html), (resend.text, resend.html))
        self.assertEqual(
            [(each.name, each.content, each.content_id) for each in acs.files],
            [(each.name, each.content, each.content_id) for each in resend.files],
        )
        return {each.name: each.kind for each in acs.files}

    def refused(self, mail: bytes, code: str, address: str = BOB, **limits: Limits) -> None:
        for by in (by_acs, by_resend):
            arrived, results = by(mail, address, **limits)
            self.assertEqual(arrived, [])
            self.assertIsInstance(results[address], Failed)
            self.assertEqual(results[address].code, code)

    def test_rows(self) -> None:
        """Each row of the tables has a test, and each test its row."""
        text = DOCUMENT.read_text()
        sections = text[text.index("What Azure") : text.index("What a smarthost gets")]
        self.assertEqual(set(first_column(sections)), set(ROWS))

    # --- both services

    @row("From")
    def test_from(self) -> None:
        """A sender of an own domain sends; at Azure another one is replaced; Resend has the display name."""
        acs, resend = self.both(written("\nhello"))
        self.assertEqual(acs.request["senderAddress"], ANN)
        self.assertEqual(resend.request["from"], f"Ann <{ANN}>")
        [other] = by_acs(written("\nx", f"From: x@other.example\nTo: {BOB}\n"), BOB)[0]
        self.assertEqual(other.request["senderAddress"], ANN, "the envelope's")

    @row("Reply-To")
    def test_reply_to(self) -> None:
        """The mail's own goes, with its name; without one that can be reached, the From that was replaced."""
        acs, resend = self.both(written("Reply-To: Cy <cy@example.net>\n\nhello"))
        self.assertEqual((acs.reply_to, resend.reply_to), (["Cy <cy@example.net>"],) * 2)
        [other] = by_acs(written("Reply-To: root@nas\n\nx", f"From: x@other.example\nTo: {BOB}\n"), BOB)[0]
        self.assertEqual(other.reply_to, ["<x@other.example>"])

    @row("To, Cc")
    def test_to_and_cc(self) -> None:
        """Those of the delivery, with their names; nobody else."""
        mail = written("Cc: Cy <cy@example.net>, Dan <dan@example.net>\n\nhello")
        for arrived in self.both(mail, BOB, CY):
            self.assertEqual((arrived.to, arrived.cc, arrived.bcc), ([f"Bob <{BOB}>"], [f"Cy <{CY}>"], []))

    @row("Bcc")
    def test_bcc(self) -> None:
        """Who is in neither is blind, and no header tells of him."""
        for arrived in self.both(written(f"Bcc: {CY}\nX-Bcc: {CY}\nDelivered-To: {CY}\n\nhello"), BOB, CY):
            self.assertEqual((arrived.bcc, arrived.headers), ([f"<{CY}>"], {}))

    @row("Subject")
    def test_subject(self) -> None:
        """It is decoded; there is one if the mail has none; a long one is cut."""
        for given, expected in (
            ("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n", "Grüße"),
            ("", "(no subject)"),
            (f"Subject: {'x' * 2000}\n", "x" * 998),
        ):
            for arrived in self.both(written(f"{given}\nhello", f"From: {ANN}\nTo: {BOB}\n")):
                self.assertEqual(arrived.subject, expected)

    @row("Date")
    def test_date(self) -> None:
        """It does not go: the service sets it."""
        for arrived in self.both(written("Date: Fri, 20 Nov 2026 09:30:00 +0000\n\nhello")):
            self.assertEqual(arrived.headers, {})

    @row("Message-ID")
    def test_message_id(self) -> None:
        """It goes if the service takes it."""
        for given, expected in (("<a@b.example>", {"Message-ID": "<a@b.example>"}), ("<a@b>", {}), ("x", {})):
            for arrived in self.both(written(f"Message-ID: {given}\n\nhello")):
                self.assertEqual(arrived.headers, expected)

    @row("text, HTML")
    def test_texts(self) -> None:
        """Their characters arrive, whatever their charset; a further text follows the first."""
        kind = "Content-Type: text/html; charset=iso-8859-1\n"
        html = f"{kind}Content-Transfer-Encoding: quoted-printable\n\n<b>=FC</b>"
        for arrived in self.both(multipart("alternative", TEXT, html)):
            self.assertEqual((arrived.text, arrived.html), ("hello", "<b>ü</b>"))
        for arrived in self.both(multipart("mixed", TEXT, TEXT.replace("hello", "footer"))):
            self.assertLess(arrived.text.index("hello"), arrived.text.index("footer"))
            self.assertEqual(arrived.files, [])

    @row("pictures in the HTML")
    def test_pictures(self) -> None:
        """One that the HTML shows has its id; another one is a file."""
        html = 'Content-Type: text/html\n\n<img src="cid:one">'
        parts = [f"{PICTURE}Content-ID: <{name}>\n\niVBO" for name in ("one", "two")]
        for arrived in self.both(multipart("related", html, *parts)):
            self.assertEqual([each.content_id for each in arrived.files], ["one", ""])
            self.assertEqual(arrived.html, '<img src="cid:one">')

    @row("attachments")
    def test_attachments(self) -> None:
        """They arrive byte for byte; an empty one is a line break; no resource fork comes along."""
        data = base64.b64encode(bytes(range(256))).decode()
        file = f"Content-Type: image/png; name=a.png\nContent-Transfer-Encoding: base64\n\n{data}"
        double = "\n".join(
            (
                "Content-Type: multipart/appledouble; boundary=c\n",
                "--c\nContent-Type: application/applefile; name=x\n\nfork",
                f"--c\n{file}\n--c--",
            )
        )
        for arrived in self.both(multipart("mixed", TEXT, file)):
            self.assertEqual([each.content for each in arrived.files], [bytes(range(256))])
        self.assertEqual(list(self.files(multipart("mixed", TEXT, double))), ["a.png"])
        empty = "Content-Disposition: attachment; filename=e.pdf\n\n"
        for arrived in self.both(multipart("mixed", TEXT, empty)):
            self.assertEqual([(each.name, each.content) for each in arrived.files], [("e.pdf", b"\n")])
        for given, expected in (("a/b:c.pdf", "a_b_c.pdf"), (f"{'x' * 300}.pdf", f"{'x' * 146}.pdf")):
            file = f'Content-Disposition: attachment; filename="{given}"\n\nx'
            self.assertEqual(by_acs(multipart("mixed", TEXT, file))[0][0].names, [expected])

    @row("other headers")
    def test_headers(self) -> None:
        """They go along, each name once, with limits."""
        kept = {"X-App": "crm", "List-Id": "<l.example>", "In-Reply-To": "<a@b.example>"}
        for arrived in self.both(
            written("".join(f"{name}: {text}\n" for name, text in kept.items()) + "\nx")
        ):
            self.assertEqual(arrived.headers, kept)
        for arrived in self.both(written("".join(f"X-{n}: {'y' * 3000}\n" for n in range(60)) + "\nx")):
            self.assertLessEqual(len(arrived.headers), 50)
            self.assertLessEqual(sum(map(len, arrived.headers.values())), 32 * 1024)
            self.assertEqual({len(text) for text in arrived.headers.values()}, {2000})

    @row("Received, DKIM-Signature")
    def test_trace(self) -> None:
        """They do not go: the service signs anew."""
        for arrived in self.both(written("Received: from x by y; now\nDKIM-Signature: v=1\n\nhello")):
            self.assertEqual(arrived.headers, {})

    @row("priority")
    def test_priority(self) -> None:
        """It goes as headers."""
        for arrived in self.both(written("Importance: high\nX-Priority: 1\n\nhello")):
            self.assertEqual(arrived.headers, {"Importance": "high", "X-Priority": "1"})

    # --- what a request cannot say

    @row("a mail signed in two parts")
    def test_signed(self) -> None:
        """The text, and the signature as a file: S/MIME and PGP."""
        for kind, name in (
            ("application/pkcs7-signature", "smime.p7s"),
            ("application/pgp-signature", "s.asc"),
        ):
            signature = f"Content-Type: {kind}; name={name}\n\nMIIB"
            mail = multipart("signed", TEXT, signature, more=f'; protocol="{kind}"')
            self.assertEqual(self.files(mail), {name: OCTETS})
            self.assertEqual(self.both(mail)[0].text, "hello")

    @row("S/MIME in one part")
    def test_opaque(self) -> None:
        """Signed or encrypted, it is the file that mail programs know."""
        for smime in ("enveloped-data", "signed-data"):
            kind = f"Content-Type: application/pkcs7-mime; smime-type={smime}; name=smime.p7m\n"
            mail = written(f"{kind}Content-Transfer-Encoding: base64\n\nMIIB\n")
            self.assertEqual(self.files(mail), {"smime.p7m": OCTETS})
            self.assertEqual(self.both(mail)[1].files[0].content, base64.b64decode("MIIB"))

    @row("PGP/MIME, encrypted")
    def test_encrypted(self) -> None:
        """Both parts are files; what can be decrypted is byte for byte."""
        version = "Content-Type: application/pgp-encrypted\n\nVersion: 1"
        secret = "Content-Type: application/octet-stream; name=encrypted.asc\n\n-----BEGIN PGP MESSAGE-----"
        mail = multipart("encrypted", version, secret)
        self.assertEqual(list(self.files(mail)), ["attachment-1.asc", "encrypted.asc"])
        self.assertEqual(self.both(mail)[0].files[1].content, b"-----BEGIN PGP MESSAGE-----")

    @row("an invitation")
    def test_invitation(self) -> None:
        """The text, and the calendar with its method as a file."""
        calendar = f"Content-Type: text/calendar; method=REQUEST; charset=utf-8\n\n{CALENDAR}"
        for mail, text in ((multipart("alternative", TEXT, calendar), "hello"), (written(calendar), " ")):
            self.assertEqual(self.files(mail), {"attachment-1.ics": "text/calendar"})
            arrived = self.both(mail)[0]
            self.assertEqual(arrived.text, text)
            self.assertIn(b"METHOD:REQUEST", arrived.files[0].content)

    @row("a mail within the mail")
    def test_nested(self) -> None:
        """It is a file, named by its subject, byte for byte."""
        inner = f"From: x@y.example\nSubject: Re: old\n\n{TEXT}"
        mail = multipart("mixed", TEXT, f"Content-Type: message/rfc822\n\n{inner}")
        self.assertEqual(self.files(mail), {"Re_ old.eml": OCTETS})
        self.assertEqual(self.both(mail)[0].files[0].content, inner.replace("\n", "\r\n").encode())

    @row("a digest")
    def test_digest(self) -> None:
        """Each of its mails is a file."""
        mail = multipart("digest", "\nSubject: One\n\nx", "\nSubject: Two\n\ny")
        self.assertEqual(list(self.files(mail)), ["One.eml", "Two.eml"])

    @row("a report")
    def test_report(self) -> None:
        """Its text, its part for machines as text, and the mail that it is about."""
        status = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n"
        mail = multipart("report", TEXT, status, "Content-Type: message/rfc822\n\nSubject: Old\n\nx")
        self.assertEqual(self.files(mail), {"attachment-1.txt": "text/plain", "Old.eml": OCTETS})

    @row("read receipt")
    def test_read_receipt(self) -> None:
        """It is asked for by a header."""
        for arrived in self.both(written(f"Disposition-Notification-To: {ANN}\n\nhello")):
            self.assertEqual(arrived.headers, {"Disposition-Notification-To": ANN})

    @row("delivery notification")
    def test_delivery_notification(self) -> None:
        """The service takes no such wishes over: what it delivers, the relay reports."""
        for by in (by_acs, by_resend):
            _, results = by(written("\nhello"), BOB)
            self.assertFalse(results[BOB].reports)

    @row("a header that is repeated")
    def test_repeated(self) -> None:
        """The first one, and of some all of them."""
        mail = written(
            "X-A: 1\nx-a: 2\nComments: one\nComments: two\nReferences: <a@b.c>\nReferences: <d@e.f>\n\nx"
        )
        for arrived in self.both(mail):
            expected = {"X-A": "1", "Comments": "one two", "References": "<a@b.c> <d@e.f>"}
            self.assertEqual(arrived.headers, expected)

    @row("a picture without id")
    def test_picture_without_id(self) -> None:
        """It is a file."""
        html = 'Content-Type: text/html\n\n<img src="cid:one">'
        for arrived in self.both(multipart("related", html, f"{PICTURE}Content-Disposition: inline\n\niVBO")):
            self.assertEqual(
                [(each.name, each.content_id) for each in arrived.files], [("attachment-1.png", "")]
            )

    @row("a picture by its location")
    def test_location(self) -> None:
        """It is a file, and the HTML is as it was."""
        html = 'Content-Type: text/html\n\n<img src="p.png">'
        for arrived in self.both(multipart("related", html, f"{PICTURE}Content-Location: p.png\n\niVBO")):
            self.assertEqual((arrived.html, len(arrived.files)), ('<img src="p.png">', 1))
            self.assertEqual(arrived.files[0].content_id, "")

    @row("another alternative")
    def test_alternatives(self) -> None:
        """What is neither text nor HTML is a file."""
        other = ["Content-Type: text/x-amp-html\n\n<amp>", "Content-Type: text/enriched\n\n<bold>"]
        mail = multipart("alternative", TEXT, *other, "Content-Type: text/html\n\n<p>")
        self.assertEqual(len(self.files(mail)), 2)
        self.assertEqual((self.both(mail)[0].text, self.both(mail)[0].html), ("hello", "<p>"))

    @row("text around the parts")
    def test_around(self) -> None:
        """It is missing, unless the parts say nothing."""
        around = multipart("mixed", TEXT).replace(b"\r\n--b\r\n", b"\r\nbefore\r\n--b\r\n", 1) + b"behind\r\n"
        for arrived in self.both(around):
            self.assertEqual(arrived.text, "hello")
        for arrived in self.both(around.replace(b"hello", b"")):
            self.assertIn("before", arrived.text)

    @row("``winmail.dat``")
    def test_winmail(self) -> None:
        """It is a file of that name."""
        part = "Content-Type: application/ms-tnef; name=winmail.dat\n\nx"
        self.assertEqual(self.files(multipart("mixed", TEXT, part)), {"winmail.dat": OCTETS})

    @row("a fragment of a mail")
    def test_fragment(self) -> None:
        """It is a file with what the mail has of it."""
        mail = written('Content-Type: message/partial; id="x"; number=1; total=2\n\nhalf')
        self.assertEqual(self.files(mail), {"attachment-1.bin": OCTETS})
        self.assertEqual(self.both(mail)[0].files[0].content, b"half")

    # --- what cannot be sent

    @row("``5.6.0``")
    def test_too_complex(self) -> None:
        """A mail of too many parts."""
        self.refused(multipart("mixed", *[TEXT] * 1001), "5.6.0")

    @row("``5.3.4``")
    def test_too_large(self) -> None:
        """A mail whose request is larger than may be."""
        self.refused(written("\n" + "x" * 5000), TOO_LARGE, limits=Limits(request=4000, recipients=50))

    @row("``5.1.3``")
    def test_address(self) -> None:
        """An address that no service takes."""
        for address in ("jürgen@example.net", "root@nas"):
            self.refused(written("\nhello"), "5.1.3", address)

    @row("``5.1.7``")
    def test_nobody(self) -> None:
        """Resend gets no mail that nobody sends."""
        joined = JoinedResend()
        results = joined.deliver(BOB, body=written("\nx", "From: root@nas\n"), sender="")
        self.assertEqual((results[BOB].code, joined.fake.mails), ("5.1.7", []))

    # --- where Resend differs

    @row("To, Cc, Reply-To")
    def test_names_at_resend(self) -> None:
        """A name that would need quotes is an encoded word."""
        mail = written("\nx", f'From: {ANN}\nTo: "Doe, John" <{BOB}>\n')
        self.assertEqual(self.both(mail)[1].to, [f"=?utf-8?q?Doe=2C_John?= <{BOB}>"])
        self.assertEqual(self.both(mail)[0].to, [f"Doe, John <{BOB}>"])

    @row("type of an attachment")
    def test_types(self) -> None:
        """At Azure by extension, then by what the mail says, else octets; at Resend none."""
        for given, expected in (
            ("application/octet-stream; name=a.pdf", "application/pdf"),
            ("application/pdf; name=report", "application/pdf"),
            ("image/jpg; name=photo", "image/jpeg"),
            ("text/html; name=a.html", OCTETS),
            ("application/x-own; name=a.own", OCTETS),
        ):
            mail = multipart("mixed", TEXT, f"Content-Type: {given}\nContent-Disposition: attachment\n\nx")
            self.assertEqual(list(self.files(mail).values()), [expected], given)
            self.assertEqual(set(self.both(mail)[1].request["attachments"][0]), {"filename", "content"})

    @row("name of an attachment")
    def test_name_at_resend(self) -> None:
        """It is not changed."""
        mail = multipart("mixed", TEXT, 'Content-Disposition: attachment; filename="a: b?.pdf"\n\nx')
        self.assertEqual(self.both(mail)[1].names, ["a: b?.pdf"])
