"""One mail as a request: it says what the mail said, and the service takes it whatever the mail is."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import Address
from smtprelay.mime.parse import Attachment, Mail
from smtprelay.providers.acs.request import (
    OPTIONAL,
    body_of,
    map_mail,
    measure,
)
from smtprelay.providers.json_mail import Corrections, VisibleRecipients, choose_sender, narrowed, reply_to
from smtprelay.testing.acs_schema import check_send

A, B, C = Address("a@x.org", "Ann"), Address("b@x.org", "Bob"), Address("c@x.org")


def mail(**fields: object) -> Mail:
    return Mail(**{"headers": (), **fields})


def parameters(*recipients: str, **more: Any) -> dict[str, Any]:
    usual = {
        "recipients": list(recipients or ("a@x.org",)),
        "envelope_sender": "scan@nas",
        "sender": "default@d.org",
        "domains": ["ok.org"],
        "blind_to": "",
        "without": [],
        "engagement_tracking": None,
        "largest": None,
    }
    return {**usual, **more}


def requests(octets: bytes, *recipients: str, **more: Any) -> list[dict[str, Any]]:
    """Return the requests that a mail becomes, decoded; their sizes and digests are checked."""
    facts, body = map_mail(octets, parameters(*recipients, **more))
    found = []
    for made in json.loads(json.dumps(facts))["requests"]:
        whole = b"".join((body, made["recipients"].encode(), b"}"))
        assert made["digest"] == base64.b64encode(hashlib.sha256(whole).digest()).decode()
        assert len(whole) <= facts["size"]
        found.append(json.loads(whole))
    return found


def request_of(
    full: Mail, sender: str, answer_to: Any, people: VisibleRecipients, *without: str
) -> Mapping[str, Any]:
    """Return the request of a mail with the recipients of ``people``, decoded."""
    body = b"".join(body_of(full, sender, answer_to, Corrections(), without))
    entries = {
        field: [{"address": who.address, "displayName": who.name} for who in getattr(people, field)]
        for field in ("to", "cc", "bcc")
    }
    request: dict[str, Any] = json.loads(body + json.dumps(entries).encode() + b"}")
    return request


class RecipientTests(SynchronousTestCase):
    def test_narrowed(self):
        """To and Cc keep those of the envelope, with their names; others are blind, strangers left out."""
        visible = narrowed(mail(to=[A, C], cc=[B, A]), ["B@X.org", "a@x.org", "d@x.org"])
        self.assertEqual(visible.to, [A])
        self.assertEqual(visible.cc, [Address("B@X.org", "Bob")])
        self.assertEqual(visible.bcc, [Address("d@x.org")])
        self.assertTrue(visible.to)

    def test_nobody_left_in_to(self):
        """If only Cc names recipients of the envelope they take the place of To."""
        self.assertEqual(narrowed(mail(to=[A], cc=[B]), ["b@x.org"]), VisibleRecipients([B], (), []))

    def test_blind(self):
        """Nobody named: all are blind."""
        self.assertFalse(narrowed(mail(to=[A], cc=[B]), ["c@x.org"]).to)

    @given(st.data())
    def test_envelope_decides(self, data: st.DataObject):
        """Whatever the headers say: each recipient gets the mail exactly once, and nobody else does."""
        people = st.sampled_from([f"{letter}@x.org" for letter in "abcdefAB"])
        named = st.lists(people.map(Address), max_size=6)
        recipients = data.draw(st.lists(people, unique_by=str.lower, min_size=1))
        visible = narrowed(mail(to=data.draw(named), cc=data.draw(named)), recipients)
        reached = [who.address for group in (visible.to, visible.cc, visible.bcc) for who in group]
        self.assertEqual(sorted(reached), sorted(recipients))


#: Domains that may send.
OURS = {"ok.org", "xn--mller-kva.example"}


class SenderTests(SynchronousTestCase):
    def test_choice(self):
        """The envelope's sender if its domain may send, else the header's, else the default."""
        cases = (
            ("a@ok.org", "b@ok.org", "a@ok.org"),
            ("a@OK.org", "b@no.org", "a@ok.org"),
            ("a@müller.example", "", "a@xn--mller-kva.example"),
            ("a@XN--MLLER-KVA.example", "", "a@xn--mller-kva.example"),
            ("ä@ok.org", "", "default@d.org"),
            ("a@no.org", "b@ok.org", "b@ok.org"),
            ("a@no.org", "b@no.org", "default@d.org"),
            ("", "b@no.org", "default@d.org"),
            ("a@sub.ok.org", "", "default@d.org"),
        )
        for envelope, header, expected in cases:
            with self.subTest(envelope=envelope, header=header):
                sender = [Address(header)] if header else []
                chosen = choose_sender(mail(sender=sender), envelope, "default@d.org", OURS)
                self.assertEqual(chosen, expected)

    def test_answers_reach_the_author(self):
        """Who was replaced as the sender is in Reply-To, unless the mail names one."""
        self.assertEqual(reply_to(mail(sender=[A]), "bounce@x.org", "default@d.org"), (A,))
        self.assertEqual(reply_to(mail(sender=[A], reply_to=[B]), "", "default@d.org"), [B])
        root = Address("root@nas")
        self.assertEqual(reply_to(mail(sender=[A], reply_to=[root]), "", "default@d.org"), (root, A))
        self.assertEqual(reply_to(mail(sender=[A], reply_to=[root, B]), "", "default@d.org"), [root, B])
        self.assertEqual(reply_to(mail(), "e@x.org", "default@d.org"), (Address("e@x.org"),))
        self.assertEqual(reply_to(mail(), "", "default@d.org"), ())
        self.assertEqual(reply_to(mail(sender=[A]), "", "A@x.org"), ())
        umlaut = Address("a@müller.example")
        self.assertEqual(reply_to(mail(sender=[umlaut]), "", "a@xn--mller-kva.example"), ())


class InternationalTests(SynchronousTestCase):
    def test_domains(self):
        """Envelope and header that spell one domain in two ways mean one recipient; the envelope's goes."""
        for there, here in (
            ("k@bücher.example", "k@xn--bcher-kva.example"),
            ("k@xn--bcher-kva.example", "k@bücher.example"),
            ("K@XN--BCHER-KVA.example", "k@Bücher.Example"),
            ("k@straße.example", "k@xn--strae-oqa.example"),
        ):
            visible = narrowed(mail(to=[Address(there, "Käthe")]), [here])
            self.assertEqual((visible.to, visible.bcc), ([Address(here, "Käthe")], []), there)

    def test_others_stay_blind(self):
        """A domain that only looks alike is another one."""
        self.assertFalse(narrowed(mail(to=[Address("k@bücher.example")]), ["k@bucher.example"]).to)


class BodyTests(SynchronousTestCase):
    def test_everything(self):
        """A mail with everything is a request that the schema takes, and says the same."""
        full = mail(
            subject='Grüße "x"\n',
            text="t\ud800",
            html="<p>",
            headers=[("X-A", "1")],
            attachments=[Attachment('"ä".pdf', "application/pdf", b"AP8="), Attachment("b", "a/b", b"")],
        )
        request = request_of(full, "s@x.org", [B], VisibleRecipients([A], [B], [C]))
        check_send(request)
        self.assertEqual(request["content"], {"subject": 'Grüße "x"', "plainText": "t\ufffd", "html": "<p>"})
        self.assertEqual(request["replyTo"], [{"address": "b@x.org", "displayName": "Bob"}])
        self.assertEqual(
            request["attachments"],
            [
                {"name": "_ä_.pdf", "contentType": "application/pdf", "contentInBase64": "AP8="},
                {"name": "b", "contentType": "application/octet-stream", "contentInBase64": "Cg=="},
            ],
        )

    def test_nothing(self):
        """A mail without subject and text, as scanners send it, is still a good request."""
        request = request_of(mail(), "s@x.org", (), VisibleRecipients([A]))
        check_send(request)
        self.assertEqual(request["content"], {"subject": "(no subject)", "plainText": " "})
        self.assertNotIn("attachments", request)

    def test_letters_beyond_ascii(self):
        """They arrive as they are, and a text of them does not grow."""
        for text in ("grün " * 1000, "green " * 1000):
            body = b"".join(body_of(mail(text=text, subject="x"), "s@x.org", (), Corrections()))
            self.assertEqual(json.loads(body + b"0}")["content"]["plainText"], text)
            self.assertLess(len(body), len(text.encode()) + 300)

    def test_html_only(self):
        """HTML alone gets no plain text made up."""
        request = request_of(mail(html="<p>"), "s@x.org", (), VisibleRecipients([A]))
        self.assertNotIn("plainText", request["content"])

    def test_left_out(self):
        """What the service does not like is not there, and nothing else is missing."""
        full = mail(
            html='<img src="cid:a">',
            headers=[("X-A", "1")],
            attachments=[Attachment("ä.qqq", "a/b", b"AP8=", "a")],
        )
        everything = request_of(full, "s@x.org", [B], VisibleRecipients([A]))
        for field, there in (
            ("headers", lambda request: "headers" in request),
            ("replyTo", lambda request: "replyTo" in request),
            ("displayName", lambda request: "displayName" in request["replyTo"][0]),
            ("attachments.contentId", lambda request: "contentId" in request["attachments"][0]),
            ("attachments.name", lambda request: request["attachments"][0]["name"] == "ä.qqq"),
        ):
            without = request_of(
                full, "s@x.org", [] if field == "replyTo" else [B], VisibleRecipients([A]), field
            )
            self.assertEqual((there(everything), there(without)), (True, False), field)
            check_send(without)


class TaskTests(SynchronousTestCase):
    def test_an_author_that_is_no_address(self):
        """What a scanner calls itself is no Reply-To; the mail goes without one."""
        for author in (b"root@nas", b"scanner", b'"Scanner 3" <>', b"a..b@x.org", b"root@[10.0.0.7]"):
            mail = b"From: " + author + b"\r\nTo: a@x.org\r\n\r\nhello\r\n"
            [request] = requests(mail)
            check_send(request)
            self.assertNotIn("replyTo", request)

    def test_a_sender_that_is_no_address(self):
        """It is not sent from, though its domain may send: the usual one does."""
        [request] = requests(b"From: a..b@ok.org\r\nTo: a@x.org\r\n\r\nx", envelope_sender="a..b@ok.org")
        self.assertEqual(request["senderAddress"], "default@d.org")
        [request] = requests(b"To: a@x.org\r\n\r\nx", envelope_sender="ann@OK.org")
        self.assertEqual(request["senderAddress"], "ann@ok.org")

    def test_one_body_for_many(self):
        """Blind recipients get a request each, which differ in nothing else; all is made once."""
        people = [f"p{n}@x.org" for n in range(60)]
        facts, body = map_mail(b"Subject: Hi\r\n\r\nx", parameters(*people))
        self.assertEqual([each["to"] for each in facts["requests"]], [[address] for address in people])
        self.assertEqual({each["alone"] for each in facts["requests"]}, {True})
        self.assertTrue(all(len(each["recipients"]) < 50 for each in facts["requests"]))
        self.assertNotIn(b"p1@x.org", body)
        self.assertEqual(len(requests(b"Subject: Hi\r\n\r\nx", *people)), 60)

    def test_together(self):
        """With a name to go in, blind recipients are one request: he in To, they in Bcc, each once."""
        people = ["a@x.org", "List@D.org", "b@x.org"]
        [request] = requests(b"Subject: Hi\r\n\r\nx", *people, blind_to="list@d.org")
        check_send(request)
        self.assertEqual(
            request["recipients"],
            {"to": [{"address": "list@d.org"}], "bcc": [{"address": "a@x.org"}, {"address": "b@x.org"}]},
        )
        [request] = requests(b"To: a@x.org\r\n\r\nx", *people, blind_to="list@d.org")
        self.assertEqual(request["recipients"]["to"], [{"address": "a@x.org"}])

    def test_engagement_tracking(self):
        """What is configured is in the request; without it the service's own setting counts."""
        mail, key = b"To: a@x.org\r\n\r\nx", "userEngagementTrackingDisabled"
        for configured, expected in ((None, None), (False, True), (True, False)):
            [request] = requests(mail, engagement_tracking=configured)
            check_send(request)
            self.assertEqual(request.get(key), expected)

    def test_too_large(self):
        """What is beyond the limit is only measured; nothing comes back that nobody can send."""
        mail = b"To: a@x.org\r\n\r\n" + b"x" * 1000
        facts, body = map_mail(mail, parameters(largest=1000))
        self.assertEqual((facts["requests"], body), ([], b""))
        exact = facts["size"]
        self.assertEqual(measure(mail, parameters(largest=1000)), ({"size": exact}, b""))
        facts, body = map_mail(mail, parameters(largest=exact))
        self.assertEqual(len(body + facts["requests"][0]["recipients"].encode() + b"}"), exact)


#: Pieces of mail that break readers and services.
HEADERS = st.sampled_from(
    [
        b"From: root@nas",
        b"From: scanner",
        b'From: "a\x00b" <a@ok.org>',
        b"From: a..b@ok.org",
        b"Reply-To: " + b", ".join(b"a%d@x.org" % n for n in range(30)),
        b"Reply-To: root@nas, \xfc@x.org, a@b\xfccher.example, x",
        b"Reply-To: =?utf-8?q?=00=0d=0aBcc:_x@y.org?= <a@x.org>",
        b"To: =?utf-8?b?" + base64.b64encode(("ü" * 400).encode()) + b"?= <a@x.org>",
        b'Cc: "\xff\x00" <b@x.org>',
        b"Subject: " + b"x" * 2000,
        b"Subject: a\x00b\x1b[0m\xff",
        b"Subject: =?utf-8?q?=0d=0aBcc:_evil@y.org?=",
        b"Subject: =?utf-16?b?2AA=?=",
        b"X-A: \x00\xff\x7f",
        b"X-A: =?x?q?y",
        b"X-" + b"B" * 100 + b": 1",
        b"X-C:   ",
        b"x-c: again",
        b"Message-ID: nonsense",
        b"Message-ID: <a@b.example>",
        b"References: " + b" ".join(b"<%d@x.example>" % n for n in range(500)),
        b"Bcc: boss@x.org",
        b"X-Bcc: boss@x.org",
        b"X-Envelope-To: boss@x.org",
        b"x-ms-acsemail-validate-message-id: true",
        b"\r\n".join(b"X-%d: 1" % n for n in range(200)),
    ]
)
TYPES = st.sampled_from(
    [
        b"text/html charset=utf-8",
        b"application/octet-stream name=a.csv",
        b"*/*",
        b"text/plain>",
        b"text/plain\x01",
        b"image/jpg",
        b"message/rfc822",
        b"text/html",
        b"application/pdf",
        b"x",
        b"",
        b"text/plain; charset=utf-7",
        b"multipart/mixed; boundary=b",
        b"\xff/\xfe",
    ]
)
FILES = st.sampled_from(
    [
        b"",
        b'; filename="Invoice 1/2.pdf"',
        b'; filename="..\\\\..\\\\x"',
        b"; filename=a\x00\xff.pdf",
        b'; filename="' + b"x" * 5000 + b'.pdf"',
        b"; filename*=UTF-8''%E2%80%AE%0d%0ax.exe",
        b"; filename=.",
        b"; filename=a.html",
        b"; filename=con.txt",
    ]
)
IDS = st.sampled_from(
    [b"", b"<a>", b"<a>", b"<A>", b"<b c>", b"<\xfc>", b"<>", b"<" + b"x" * 3000 + b">", b"cid"]
)
CONTENT = st.one_of(
    st.sampled_from([b"", b"x", b"\x00\x07\xff", b'<img src="cid:a"><img src=cid:b%20c>']),
    st.binary(max_size=40),
)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Make a mail of several parts, out of what breaks readers and services."""
    head = draw(st.lists(HEADERS, max_size=6))
    if draw(st.booleans()):
        head.append(b"To: a@x.org, Bob <b@x.org>")
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        encoding = draw(st.sampled_from([b"", b"base64", b"quoted-printable", b"x-uuencode", b"nonsense"]))
        parts.append(
            b"Content-Type: %b\r\nContent-Disposition: %b%b\r\nContent-ID: %b\r\n"
            b"Content-Transfer-Encoding: %b\r\n\r\n%b"
            % (
                draw(TYPES),
                draw(st.sampled_from([b"attachment", b"inline", b""])),
                draw(FILES),
                draw(IDS),
                encoding,
                draw(CONTENT),
            )
        )
    if not parts:
        return b"\r\n".join([*head, b"", draw(CONTENT)])
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return b"\r\n".join([*head, b"Content-Type: multipart/mixed; boundary=b", b"", body + b"--b--"])


class HostileTests(SynchronousTestCase):
    @given(
        hostile(),
        st.lists(st.sampled_from(["a@x.org", "b@x.org", "c@x.org"]), min_size=1, unique=True),
        st.data(),
    )
    def test_nothing_makes_a_request_invalid(self, mail: bytes, people: list[str], data: st.DataObject):
        """
        Whatever a mail contains: its requests are such as the service takes, each recipient is in exactly one
        of them, and nobody else is.
        """
        more = {
            "envelope_sender": data.draw(
                st.sampled_from(["", "root@nas", "a@ok.org", "a..b@ok.org", "ü@ok.org"])
            ),
            "blind_to": data.draw(st.sampled_from(["", "list@d.org"])),
            "without": data.draw(st.lists(st.sampled_from(OPTIONAL), max_size=2)),
        }
        found = requests(mail, *people, **more)
        reached = []
        for request in found:
            check_send(request)
            reached += [each["address"] for kind in request["recipients"].values() for each in kind]
            self.assertNotIn(
                "boss@x.org", json.dumps(request["recipients"]) + json.dumps(request.get("headers", {}))
            )
        self.assertEqual(sorted(set(reached) - {more["blind_to"]}), sorted(people))
        self.assertEqual(len(reached), len(set(reached)))
