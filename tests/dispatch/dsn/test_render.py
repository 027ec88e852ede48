import email
import email.policy
from email.message import EmailMessage
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.dsn import status_part, text_part
from smtprelay.dispatch.dsn.original_part import Original, header_of, whole_message
from smtprelay.dispatch.dsn.render import render
from smtprelay.dispatch.dsn.report import ACTIONS, DELAYED, FAILED, RELAYED, Report, ReportedRecipient
from smtprelay.model.message import Recipient
from tests.dispatch.stage import BOUNCES, MORNING

HEADERS = b"From: scan@example.com\r\nSubject: Scan\r\n"
DATE = "Fri, 20 Nov 2026 11:00:00 +0000"


def failed(
    address: str = "anna@x.org",
    why: str = "550 no such user",
    code: str = "5.1.1",
    orcpt: str = "",
    **more: Any,
) -> ReportedRecipient:
    return ReportedRecipient(recipient=Recipient(address=address, orcpt=orcpt), why=why, code=code, **more)


def make_report(*recipients: ReportedRecipient, headers: bytes = HEADERS, **changes: Any) -> Report:
    usual = {
        "message": "06DPW3",
        "reference": "06DPW3.1.2",
        "to": "scan@example.com",
        "provider": "ses",
        "received": MORNING - 600,
        "written": MORNING,
        "recipients": recipients or (failed(),),
        "original": header_of(headers),
    }
    return Report(**{**usual, **changes})


def rendered(report: Report) -> bytes:
    hostname = BOUNCES.hostname
    return render(
        report, BOUNCES, text_part.text_lines(report, hostname), status_part.status_lines(report, hostname)
    )


def parse(report: Report) -> EmailMessage:
    return email.message_from_bytes(rendered(report), policy=email.policy.default)  # type: ignore[return-value]


def parts(report: Report) -> list[Any]:
    return list(parse(report).iter_parts())


def letter(report: Report) -> str:
    return str(parts(report)[0].get_content()).replace("\r\n", "\n")


def raw_status(report: Report) -> list[str]:
    """Return the groups of fields in the part for programs."""
    lines = rendered(report).decode("ascii").split("message/delivery-status\r\n")[1]
    text = lines.split("\r\n\r\n", 1)[1].split("\r\n--06DPW3")[0]
    return [group.strip() for group in text.split("\r\n\r\n") if group.strip()]


class RenderTests(SynchronousTestCase):
    def test_its_header(self) -> None:
        """A report (RFC 6522) that no automaton answers, from the address of the settings."""
        bounce = parse(make_report())
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
            [part.get_content_type() for part in parts(make_report())],
            ["text/plain", "message/delivery-status", "text/rfc822-headers"],
        )
        self.assertEqual(parts(make_report())[2].get_payload(decode=True), HEADERS)

    def test_the_letter_says_all_that_is_known(self) -> None:
        """Who, why in the provider's words and in plain words, and the id to ask for."""
        text = letter(make_report(failed(), failed("ben@x.org", "552 too big", "5.3.4")))
        for said in (
            "<anna@x.org>\n    The address does not exist. (5.1.1)\n    Reason (ses): 550 no such user\n",
            "<ben@x.org>\n    The mail is too large. (5.3.4)\n    Reason (ses): 552 too big\n",
            "Message id at this relay: 06DPW3\n",
            f"Given up:                 {DATE}\n",
        ):
            self.assertIn(said, text)

    def test_the_part_for_programs(self) -> None:
        """One group for the message, one for each recipient (RFC 3464 §2.1)."""
        message, recipient = raw_status(make_report())
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

    def test_times_and_the_other_server(self) -> None:
        """When it was tried last, by whom it was refused, and that server's own words (RFC 3464 §2.3)."""
        why = "the recipient was refused: 550 5.1.1 no such user"
        report = make_report(failed(why=why), remote="mx.x.org", attempted=MORNING)
        self.assertEqual(
            raw_status(report)[1].split("\r\n")[2:],
            [
                "Status: 5.1.1",
                "Remote-MTA: dns; mx.x.org",
                "Diagnostic-Code: smtp; 550 5.1.1 no such user",
                f"Last-Attempt-Date: {DATE}",
            ],
        )
        lost = make_report(failed(why="mx.x.org:25: connection refused"), remote="mx.x.org")
        self.assertIn("Diagnostic-Code: X-Smtprelay; mx.x.org:25: connection refused", raw_status(lost)[1])
        self.assertNotIn("Remote-MTA", raw_status(lost)[1])
        self.assertIn("    Reason (mx.x.org): mx.x.org:25: connection refused\n", letter(lost))

    def test_nothing_was_said(self) -> None:
        """There is nothing to diagnose, and the letter says what is known."""
        for action, known in (
            (FAILED, "Reason (ses): no reason was given"),
            (DELAYED, "It had no turn yet."),
            (RELAYED, "ses took it."),
        ):
            report = make_report(failed(why="", action=action))
            self.assertIn(known, letter(report))
            self.assertNotIn("Diagnostic-Code", raw_status(report)[1])

    def test_failures_and_successes_in_one(self) -> None:
        """Each recipient has his own action; the worst comes first for the person and names the mail."""
        relayed = failed("ben@x.org", "250 queued as 7", "2.0.0", action=RELAYED)
        report = make_report(relayed, failed())
        self.assertEqual(parse(report)["Subject"], "Undelivered Mail Returned to Sender")
        _, first, second = raw_status(report)
        self.assertIn("Action: relayed\r\nStatus: 2.0.0", first)
        self.assertNotIn("Diagnostic-Code", first)
        self.assertIn("Action: failed\r\nStatus: 5.1.1", second)
        text = letter(report)
        self.assertLess(text.index("could not be delivered"), text.index("was handed on"))
        self.assertIn("<ben@x.org>\n    (2.0.0)\n    Reason (ses): 250 queued as 7\n", text)

    def test_a_delay(self) -> None:
        """It says that nothing needs to be done, and until when it is tried."""
        waits = failed(why="421 4.3.2 busy", code="4.3.2", action=DELAYED)
        report = make_report(waits, until=MORNING + 600)
        self.assertEqual(parse(report)["Subject"], "Delayed Mail (still being retried)")
        until = "Fri, 20 Nov 2026 11:10:00 +0000"
        self.assertIn(f"Will-Retry-Until: {until}", raw_status(report)[1])
        text = letter(report)
        self.assertIn("need not send it again: it is tried again", " ".join(text.split()))
        self.assertIn(f"Tried until:              {until}\n", text)
        self.assertNotIn("Given up", text)

    def test_all_of_the_mail(self) -> None:
        """A message that goes back whole is a message within the report."""
        mail = HEADERS + b"\r\nHello\r\n.\r\n"
        report = make_report(original=whole_message(mail))
        part = parts(report)[2]
        self.assertEqual(part.get_content_type(), "message/rfc822")
        self.assertEqual(part.get_content()["Subject"], "Scan")
        self.assertIn(b"\r\n\r\n" + mail + b"\r\n--06DPW3", rendered(report))
        self.assertIn("Your message is attached.", " ".join(letter(report).split()))

    def test_a_mail_with_eight_bits(self) -> None:
        """It goes back as it is, and the report says that it has them."""
        mail = HEADERS + "\r\nGrüße\r\n".encode()
        bounce = parse(make_report(original=whole_message(mail)))
        self.assertEqual(bounce["Content-Transfer-Encoding"], "8bit")
        part = list(bounce.iter_parts())[2]
        self.assertEqual(part["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(part.get_content().get_payload(decode=True), "Grüße\r\n".encode())

    def test_a_mail_that_knows_the_boundary(self) -> None:
        """It cannot end its part: another boundary is taken."""
        mail = HEADERS + b"\r\n--06DPW3.1.2/relay.example.com--\r\nfree\r\n"
        bounce = parse(make_report(original=whole_message(mail)))
        self.assertEqual(len(list(bounce.iter_parts())), 3)
        self.assertEqual(bounce.get_boundary(), "06DPW3.1.2/relay.example.com+")

    def test_a_program_finds_the_recipients(self) -> None:
        """Python's own parser reads the groups as this module wrote them."""
        status = parts(make_report(failed(), failed("ben@x.org", code="4.4.7")))[1]
        groups = [dict(group.items()) for group in status.get_payload()]
        self.assertEqual([group.get("Status") for group in groups if group], [None, "5.1.1", "4.4.7"])

    def test_what_the_sender_asked_to_get_back(self) -> None:
        """ENVID and ORCPT come back decoded (RFC 3464 §2.2.1, §2.3.1)."""
        report = make_report(failed(orcpt="rfc822;a+2Bb@x.org"), envelope_id="QQ+3D1")
        message, recipient = raw_status(report)
        broken = make_report(failed(orcpt="rfc822;a+0D+0AX: y"), envelope_id="a+0D+0AX: y+00")
        self.assertTrue(raw_status(broken)[0].startswith("Original-Envelope-Id: a X: y\r\nReporting-MTA"))
        self.assertTrue(raw_status(broken)[1].startswith("Original-Recipient: rfc822; a X: y\r\nFinal-"))
        self.assertIn("Original-Envelope-Id: QQ=1", message)
        self.assertIn("Original-Recipient: rfc822; a+b@x.org", recipient)

    def test_no_text_gets_out_of_its_place(self) -> None:
        """Line ends and control characters in what a provider said make no header and no part."""
        why = "bad\r\n\r\n--06DPW3.1.2/relay.example.com\r\nSubject: \x00 oops"
        clean = "bad --06DPW3.1.2/relay.example.com Subject: oops"
        report = make_report(failed(why=why), to="a@x.org\r\nBcc: b@x.org")
        self.assertEqual(len(parts(report)), 3)
        self.assertIn(clean, " ".join(letter(report).split()))
        self.assertIsNone(parse(report)["Bcc"])

    def test_an_invalid_code_is_replaced(self) -> None:
        """``Status`` has a grammar; a success would be a lie."""
        for code in ("", "550", "2.0.0", "5.1.1\r\nX: y", "5.1.٣"):
            self.assertIn("Status: 5.0.0\r\n", raw_status(make_report(failed(code=code)))[1] + "\r\n")

    def test_an_endless_reason_is_cut(self) -> None:
        """Some answers are whole web pages."""
        self.assertLess(len(rendered(make_report(failed(why="x" * 100_000)))), 5_000)

    def test_an_international_address(self) -> None:
        """It is written as RFC 6533 and RFC 6857 say, and no header holds an address that is not ASCII."""
        report = make_report(failed("änne@x.org", "kein Platz für Änne"), to="jürgen@x.org")
        self.assertIn("Final-Recipient: utf-8; \\x{E4}nne@x.org", raw_status(report)[1])
        self.assertIn("<änne@x.org>", letter(report))
        self.assertIn("jürgen@x.org", str(parse(report)["To"]))

    def test_a_header_with_eight_bits(self) -> None:
        """It goes back as it came, quoted."""
        headers = "Subject: Übersicht\r\n".encode() + b"X: \xff\r\n" + b"Y: " + b"y" * 2000 + b"\r\n"
        report = make_report(headers=headers)
        self.assertEqual(parts(report)[2].get_payload(decode=True), headers)

    def test_a_long_header_without_a_line_end(self) -> None:
        """What is broken into lines is broken by CRLF, even where the original has no line end at all."""
        raw = rendered(make_report(headers=b"\x00" * 25 + b"\x80"))
        self.assertFalse([line for line in raw.split(b"\r\n") if b"\n" in line])

    @given(
        why=st.text(),
        address=st.text(min_size=1, max_size=60),
        to=st.text(min_size=1, max_size=60),
        orcpt=st.text(max_size=60),
        envelope_id=st.text(max_size=60),
        action=st.sampled_from(ACTIONS),
        original=st.builds(
            lambda form, raw: form(raw.replace(b"\r", b"").replace(b"\n", b"\r\n")),
            st.sampled_from([whole_message, header_of]),
            st.binary(),
        ),
    )
    def test_whatever_comes_in_it_is_a_clean_message(
        self,
        *,
        why: str,
        address: str,
        to: str,
        orcpt: str,
        envelope_id: str,
        action: str,
        original: Original,
    ) -> None:
        """CRLF alone, no overlong line, three parts; a parser finds no defect in them, and all fields."""
        report = make_report(
            failed(address, why, orcpt=orcpt, action=action),
            to=to,
            envelope_id=envelope_id,
            original=original,
        )
        raw = rendered(report)
        self.assertTrue(raw.isascii() or report.original.encoding == "8bit")
        lines = raw.split(b"\r\n")
        self.assertFalse([line for line in lines if len(line) > 998 or b"\r" in line or b"\n" in line])
        bounce = parse(report)
        text, status, returned = bounce.iter_parts()
        groups = status.get_payload()
        for part in (bounce, text, status, returned, *groups):
            self.assertEqual(part.defects, [])
        self.assertEqual([name for name in bounce if bounce[name].defects and name != "To"], [])
        self.assertEqual(
            [group["Action"] for group in groups if group.keys()], [None, action], raw.decode("latin-1")
        )
        self.assertIn(returned.get_content_type(), raw.decode("latin-1"))
