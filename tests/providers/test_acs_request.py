import json
from email.header import decode_header, make_header

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import Attachment, Mail
from smtprelay.mime.text import Address
from smtprelay.providers.acs_request import (
    Visible,
    attached,
    body_of,
    choose_sender,
    custom_headers,
    narrowed,
    reply_to,
)
from smtprelay.testing.acs_schema import check_send

A, B, C = Address("a@x.org", "Ann"), Address("b@x.org", "Bob"), Address("c@x.org")


def mail(**fields: object) -> Mail:
    return Mail(**{"headers": (), **fields})


class RecipientTests(SynchronousTestCase):
    def test_narrowed(self):
        """To and Cc keep those of the envelope, with their names; others are blind, strangers left out."""
        visible = narrowed(mail(to=[A, C], cc=[B, A]), ["B@X.org", "a@x.org", "d@x.org"])
        self.assertEqual(visible.to, [A])
        self.assertEqual(visible.cc, [Address("B@X.org", "Bob")])
        self.assertEqual(visible.bcc, [Address("d@x.org")])
        self.assertFalse(visible.blind)

    def test_nobody_left_in_to(self):
        """If only Cc names recipients of the envelope they take the place of To."""
        self.assertEqual(narrowed(mail(to=[A], cc=[B]), ["b@x.org"]), Visible([B], (), []))

    def test_blind(self):
        """Nobody named: all are blind."""
        self.assertTrue(narrowed(mail(to=[A], cc=[B]), ["c@x.org"]).blind)

    @given(st.data())
    def test_envelope_decides(self, data: st.DataObject):
        """Whatever the headers say: each recipient gets the mail exactly once, and nobody else does."""
        people = st.sampled_from([f"{letter}@x.org" for letter in "abcdefAB"])
        named = st.lists(people.map(Address), max_size=6)
        recipients = data.draw(st.lists(people, unique_by=str.lower, min_size=1))
        visible = narrowed(mail(to=data.draw(named), cc=data.draw(named)), recipients)
        reached = [who.address for group in (visible.to, visible.cc, visible.bcc) for who in group]
        self.assertEqual(sorted(reached), sorted(recipients))


class SenderTests(SynchronousTestCase):
    def test_choice(self):
        """The envelope's sender if its domain may send, else the header's, else the default."""
        cases = (
            ("a@ok.org", "b@ok.org", "a@ok.org"),
            ("a@OK.org", "b@no.org", "a@OK.org"),
            ("a@no.org", "b@ok.org", "b@ok.org"),
            ("a@no.org", "b@no.org", "default@d.org"),
            ("", "b@no.org", "default@d.org"),
            ("a@sub.ok.org", "", "default@d.org"),
        )
        for envelope, header, expected in cases:
            with self.subTest(envelope=envelope, header=header):
                sender = [Address(header)] if header else []
                chosen = choose_sender(mail(sender=sender), envelope, "default@d.org", {"ok.org"})
                self.assertEqual(chosen, expected)

    def test_answers_reach_the_author(self):
        """Who was replaced as the sender is in Reply-To, unless the mail names one."""
        self.assertEqual(reply_to(mail(sender=[A]), "bounce@x.org", "default@d.org"), [A])
        self.assertEqual(reply_to(mail(sender=[A], reply_to=[B]), "", "default@d.org"), [B])
        self.assertEqual(reply_to(mail(), "e@x.org", "default@d.org"), (Address("e@x.org"),))
        self.assertEqual(reply_to(mail(), "", "default@d.org"), ())
        self.assertEqual(reply_to(mail(sender=[A]), "", "A@x.org"), ())


class HeaderTests(SynchronousTestCase):
    def test_what_goes_along(self):
        """Threading, lists, priorities and X- headers go along; what the service writes itself does not."""
        kept = ["Message-ID", "In-Reply-To", "References", "X-Foo", "List-Unsubscribe", "Importance"]
        dropped = ["FROM", "bcc", "Content-Type", "Received", "DKIM-Signature", "ARC-Seal", "Resent-To"]
        dropped += ["X-MS-Exchange-Foo", "x-ms-acsemail-suppress-invalid-attachment", "Return-Path", "Date"]
        headers = custom_headers(mail(headers=[(name, "1") for name in kept + dropped]))
        self.assertEqual(list(headers), kept)

    def test_values(self):
        """Control characters go, tabs become spaces, empty headers are left out, non-ASCII is encoded."""
        headers = custom_headers(
            mail(
                headers=[
                    ("X-A", "a\x07\tb\x7f"),
                    ("X-B", "\x00 "),
                    ("X-C", "grün " * 30),
                    ("X-D", "=?u?q?=41?="),
                ]
            )
        )
        self.assertEqual((headers["X-A"], headers["X-D"]), ("a b", "=?u?q?=41?="))
        self.assertNotIn("X-B", headers)
        self.assertTrue(headers["X-C"].isascii() and headers["X-C"].isprintable())
        self.assertEqual(str(make_header(decode_header(headers["X-C"]))), "grün " * 30)

    def test_repeated(self):
        """Of several headers of one name the first goes; References are joined."""
        headers = custom_headers(
            mail(headers=[("X-A", "1"), ("x-a", "2"), ("References", "<1>"), ("References", "<2>")])
        )
        self.assertEqual(headers, {"X-A": "1", "References": "<1> <2>"})


class AttachmentTests(SynchronousTestCase):
    def test_content_ids(self):
        """A content id is kept once, and only where the HTML shows the part."""
        parts = [
            Attachment("p.png", "image/png", b"eA==", content_id) for content_id in ("a", "a", "b", "c d", "")
        ]
        found = attached(mail(html='<img src="cid:a"><img src="cid:c%20d">', attachments=parts))
        self.assertEqual([part.content_id for part in found], ["a", "", "", "c d", ""])

    def test_types(self):
        """A type that says nothing is told by the name, if that says more."""
        parts = [Attachment(name, "application/octet-stream", b"eA==") for name in ("scan.PDF", "x.qqq")]
        kinds = [part.content_type for part in attached(mail(attachments=parts))]
        self.assertEqual(kinds, ["application/pdf", "application/octet-stream"])


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
        request = json.loads(body_of(full, "s@x.org", [B], Visible([A], [B], [C])))
        check_send(request)
        self.assertEqual(request["content"], {"subject": 'Grüße "x"\n', "plainText": "t?", "html": "<p>"})
        self.assertEqual(request["recipients"]["to"], [{"address": "a@x.org", "displayName": "Ann"}])
        self.assertEqual(request["recipients"]["bcc"], [{"address": "c@x.org"}])
        self.assertEqual(request["replyTo"], [{"address": "b@x.org", "displayName": "Bob"}])
        self.assertEqual(
            request["attachments"],
            [
                {"name": '"ä".pdf', "contentType": "application/pdf", "contentInBase64": "AP8="},
                {"name": "b", "contentType": "a/b", "contentInBase64": ""},
            ],
        )

    def test_nothing(self):
        """A mail without subject and text, as scanners send it, is still a good request."""
        request = json.loads(body_of(mail(), "s@x.org", (), Visible([A])))
        check_send(request)
        self.assertEqual(request["content"]["subject"], "(no subject)")
        self.assertNotIn("attachments", request)

    def test_letters_beyond_ascii(self):
        """They arrive as they are, in texts and in names, and a text of them does not grow."""
        people = Visible(to=[Address("a@x.org", "Jürgen")])
        for text in ("grün " * 1000, "green " * 1000):
            body = body_of(mail(text=text, subject="x"), "s@x.org", (), people)
            read = json.loads(body)
            self.assertEqual(read["content"]["plainText"], text)
            self.assertEqual(read["recipients"]["to"][0]["displayName"], "Jürgen")
            self.assertLess(len(body), len(text.encode()) + 300)

    def test_half_a_character(self):
        """What has no UTF-8 becomes a question mark; the rest is as it was."""
        full = mail(
            subject="a\ud800b", text="ö\n", attachments=[Attachment("\udfff.pdf", "application/pdf", b"Yw==")]
        )
        request = json.loads(body_of(full, "s@x.org", (), Visible([A])))
        self.assertEqual(request["content"], {"subject": "a?b", "plainText": "ö\n"})
        self.assertEqual([part["name"] for part in request["attachments"]], ["?.pdf"])

    def test_html_only(self):
        """HTML alone gets no plain text made up."""
        request = json.loads(body_of(mail(html="<p>"), "s@x.org", (), Visible([A])))
        self.assertNotIn("plainText", request["content"])
