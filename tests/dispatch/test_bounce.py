import email
import email.policy
from email.message import EmailMessage
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.bounce import (
    HEADER_LIMIT,
    Notice,
    Undelivered,
    header_block,
    is_wanted,
    render,
)
from smtprelay.message import Envelope, Recipient
from tests.dispatch.stage import BOUNCES, MORNING, make_delivery

HEADERS = b"From: scan@example.com\r\nSubject: Scan\r\n"
DATE = "Fri, 20 Nov 2026 11:00:00 +0000"


def failed(address: str = "anna@x.org", why: str = "550 no such user", code: str = "5.1.1", orcpt: str = ""):
    return Undelivered(recipient=Recipient(address=address, orcpt=orcpt), why=why, code=code)


def make_notice(*undelivered: Undelivered, **changes: Any) -> Notice:
    usual = {
        "message": "06DPW3",
        "reference": "06DPW3.1.2",
        "to": "scan@example.com",
        "provider": "ses",
        "received": MORNING - 600,
        "written": MORNING,
        "undelivered": undelivered or (failed(),),
        "headers": HEADERS,
    }
    return Notice(**{**usual, **changes})


def parse(notice: Notice) -> EmailMessage:
    return email.message_from_bytes(render(notice, BOUNCES), policy=email.policy.default)  # type: ignore[return-value]


def parts(notice: Notice) -> list[Any]:
    return list(parse(notice).iter_parts())


def letter(notice: Notice) -> str:
    return str(parts(notice)[0].get_content()).replace("\r\n", "\n")


def raw_status(notice: Notice) -> list[str]:
    """Return the groups of fields in the part for programs."""
    lines = render(notice, BOUNCES).decode("ascii").split("message/delivery-status\r\n")[1]
    text = lines.split("\r\n\r\n", 1)[1].split("\r\n--06DPW3")[0]
    return [group.strip() for group in text.split("\r\n\r\n") if group.strip()]


class RenderTests(SynchronousTestCase):
    def test_its_header(self) -> None:
        """A report (RFC 6522) that no automaton answers, from the address of the settings."""
        bounce = parse(make_notice())
        self.assertEqual(bounce.get_content_type(), "multipart/report")
        self.assertEqual(bounce.get_param("report-type"), "delivery-status")
        self.assertEqual(
            {
                name: str(bounce[name])
                for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted")
            },
            {
                "From": "Mail Delivery System <MAILER-DAEMON@example.com>",
                "To": "scan@example.com",
                "Subject": "Undelivered Mail Returned to Sender",
                "Date": DATE,
                "Message-ID": "<06DPW3.1.2@relay.example.com>",
                "Auto-Submitted": "auto-replied",
            },
        )
        self.assertEqual(list(bounce.defects), [])

    def test_its_three_parts(self) -> None:
        """What a person reads, what a program reads, and the original's header."""
        self.assertEqual(
            [part.get_content_type() for part in parts(make_notice())],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        self.assertEqual(parts(make_notice())[2].get_payload(decode=True), HEADERS)

    def test_the_letter_says_all_that_is_known(self) -> None:
        """Who, why in the provider's words and in plain words, and the id to ask for."""
        text = letter(make_notice(failed(), failed("ben@x.org", "552 too big", "5.3.4")))
        for said in (
            "<anna@x.org>\n    The address does not exist. (5.1.1)\n    ses said: 550 no such user\n",
            "<ben@x.org>\n    The mail is too large. (5.3.4)\n    ses said: 552 too big\n",
            "Message id at this relay: 06DPW3\n",
            f"Given up:                 {DATE}\n",
        ):
            self.assertIn(said, text)

    def test_the_part_for_programs(self) -> None:
        """One group for the message, one for each recipient (RFC 3464 §2.1)."""
        message, recipient = raw_status(make_notice())
        self.assertEqual(
            message.split("\r\n"),
            [
                "Reporting-MTA: dns; relay.example.com",
                "X-Smtprelay-Queue-Id: 06DPW3",
                "Arrival-Date: Fri, 20 Nov 2026 10:50:00 +0000",
            ],
        )
        self.assertEqual(
            recipient.split("\r\n"),
            [
                "Final-Recipient: rfc822; anna@x.org",
                "Action: failed",
                "Status: 5.1.1",
                "Diagnostic-Code: X-Smtprelay; 550 no such user",
            ],
        )

    def test_a_program_finds_the_recipients(self) -> None:
        """Python's own parser reads the groups as this module wrote them."""
        status = parts(make_notice(failed(), failed("ben@x.org", code="4.4.7")))[1]
        groups = [dict(group.items()) for group in status.get_payload()]
        self.assertEqual([group.get("Status") for group in groups if group], [None, "5.1.1", "4.4.7"])

    def test_what_the_sender_asked_to_get_back(self) -> None:
        """ENVID and ORCPT come back decoded (RFC 3464 §2.2.1, §2.3.1)."""
        notice = make_notice(failed(orcpt="rfc822;a+2Bb@x.org"), envelope_id="QQ+3D1")
        message, recipient = raw_status(notice)
        self.assertIn("Original-Envelope-Id: QQ=1", message)
        self.assertIn("Original-Recipient: rfc822; a+b@x.org", recipient)

    def test_no_text_gets_out_of_its_place(self) -> None:
        """Line ends and control characters in what a provider said make no header and no part."""
        why = "bad\r\n\r\n--06DPW3.1.2/relay.example.com\r\nSubject: \x00 oops"
        clean = "bad --06DPW3.1.2/relay.example.com Subject: oops"
        notice = make_notice(failed(why=why), to="a@x.org\r\nBcc: b@x.org")
        self.assertEqual(len(parts(notice)), 3)
        self.assertIn(clean, " ".join(letter(notice).split()))
        self.assertIsNone(parse(notice)["Bcc"])

    def test_an_invalid_code_is_replaced(self) -> None:
        """``Status`` has a grammar; a success would be a lie."""
        for code in ("", "550", "2.0.0", "5.1.1\r\nX: y", "5.1.٣"):
            self.assertIn("Status: 5.0.0\r\n", raw_status(make_notice(failed(code=code)))[1] + "\r\n")

    def test_an_endless_reason_is_cut(self) -> None:
        """Some answers are whole web pages."""
        self.assertLess(len(render(make_notice(failed(why="x" * 100_000)), BOUNCES)), 5_000)

    def test_an_international_address(self) -> None:
        """It is written as RFC 6533 and RFC 6857 say, and no header holds an address that is not ASCII."""
        notice = make_notice(failed("änne@x.org", "kein Platz für Änne"), to="jürgen@x.org")
        self.assertIn("Final-Recipient: utf-8; \\x{E4}nne@x.org", raw_status(notice)[1])
        self.assertIn("<änne@x.org>", letter(notice))
        self.assertIn("jürgen@x.org", str(parse(notice)["To"]))

    def test_a_header_with_eight_bits(self) -> None:
        """It goes back as it came, quoted."""
        headers = "Subject: Übersicht\r\n".encode() + b"X: \xff\r\n" + b"Y: " + b"y" * 2000 + b"\r\n"
        notice = make_notice(headers=headers)
        self.assertEqual(parts(notice)[2].get_payload(decode=True), headers)

    def test_a_long_header_without_a_line_end(self) -> None:
        """What is broken into lines is broken by CRLF, even where the original has no line end at all."""
        raw = render(make_notice(headers=b"\x00" * 25 + b"\x80"), BOUNCES)
        self.assertFalse([line for line in raw.split(b"\r\n") if b"\n" in line])

    @given(
        why=st.text(),
        address=st.text(min_size=1),
        to=st.text(min_size=1),
        orcpt=st.text(),
        headers=st.binary().map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"\r\n")),
    )
    def test_whatever_comes_in_it_is_a_clean_message(
        self, why: str, address: str, to: str, orcpt: str, headers: bytes
    ) -> None:
        """ASCII, CRLF alone, no overlong line, three parts."""
        notice = make_notice(failed(address, why, orcpt=orcpt), to=to, headers=headers)
        raw = render(notice, BOUNCES)
        self.assertTrue(raw.isascii())
        lines = raw.split(b"\r\n")
        self.assertFalse([line for line in lines if len(line) > 998 or b"\r" in line or b"\n" in line])
        self.assertEqual(len(parts(notice)), 3)


class WantedTests(SynchronousTestCase):
    def test_never_to_the_null_sender_and_never_of_a_bounce(self) -> None:
        """A bounce of a bounce would never end."""
        recipient = Recipient(address="a@x.org")
        self.assertTrue(is_wanted(make_delivery(), recipient))
        self.assertFalse(is_wanted(make_delivery(bounce_of="M0"), recipient))
        self.assertFalse(is_wanted(make_delivery(envelope=Envelope(sender="")), recipient))

    def test_notify_is_obeyed(self) -> None:
        """RFC 3461 §4.1: without NOTIFY a failure is reported; with it, only if it says so."""
        for notify, wanted in (
            ("", True),
            ("NEVER", False),
            ("FAILURE", True),
            ("SUCCESS", False),
            ("SUCCESS,FAILURE", True),
            ("DELAY", False),
        ):
            recipient = evolve(Recipient(address="a@x.org"), notify=notify)
            self.assertEqual(is_wanted(make_delivery(), recipient), wanted, notify)


class HeaderBlockTests(SynchronousTestCase):
    def test_it_ends_at_the_empty_line(self) -> None:
        """The body never goes back."""
        self.assertEqual(header_block(HEADERS + b"\r\nsecret\r\n\r\nmore"), HEADERS)

    def test_without_a_header_there_is_none(self) -> None:
        """A message may begin with its body, or be empty."""
        self.assertEqual(
            [header_block(each) for each in (b"\r\nbody\r\n\r\n", b"", b"no line")], [b"", b"", b""]
        )

    def test_without_a_body_all_whole_lines_are_header(self) -> None:
        """A message that ends with its header."""
        self.assertEqual(header_block(HEADERS + b"cut"), HEADERS)

    def test_it_is_bounded(self) -> None:
        """An endless header is cut at the end of a line."""
        block = header_block(b"X: 0123456789\r\n" * 10_000 + b"\r\nbody")
        self.assertTrue(block.endswith(b"X: 0123456789\r\n"))
        self.assertLessEqual(len(block), HEADER_LIMIT)
        self.assertGreater(len(block), HEADER_LIMIT - 20)
