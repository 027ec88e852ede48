"""The header of a mail that leaves: what is added, what is removed, and that nothing else changes."""

import email
import email.policy
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.headers import split
from smtprelay.mime.outgoing.field_changes import is_finished, read
from smtprelay.model.route import NextHop
from tests.mime.outgoing.finishing import (
    ADDED,
    ASCII_FIELDS,
    RECEIVED,
    SEVEN_BIT,
    Refused,
    finish,
    plan,
    sent,
)
from tests.steps import counted

COMPLETE = (
    b"From: Ann <ann@example.com>\r\n"
    b"Date: Mon, 30 Nov 2026 09:44:25 +0100\r\n"
    b"Message-ID: <1@client.example>\r\n"
    b"Subject: Hi\r\n"
)


class RefusedFieldsTests(SynchronousTestCase):
    """A next hop that takes fields as commands, and some fields once only."""

    HOP = NextHop(commands=("x-ses-",), once=("subject", "dkim-signature"))

    def test_left_out(self) -> None:
        """Commands are left out, however they are written, and of the others the first stays."""
        fields = (
            b"X-SES-CONFIGURATION-SET: theirs\r\nx-Ses-Source-ARN : arn\r\n folded\r\nSubject: twice\r\n"
            b"X-Session: stays\r\nX: twice\r\nX: twice\r\n"
        )
        for body in (b"\r\nhello\r\n", b"\r\n" + b"x" * 1200 + b"\r\n"):
            made = finish(COMPLETE + fields + body, self.HOP)
            expected = COMPLETE + b"X-Session: stays\r\nX: twice\r\nX: twice\r\n"
            self.assertEqual(made[: len(expected)], expected)
            self.assertNotIn(b"ses-", made.lower())

    def test_nothing_to_leave_out(self) -> None:
        """A mail without them leaves octet for octet; for another hop they stay."""
        for mail, hop in (
            (COMPLETE + b"X-Session: x\r\n\r\nSubject: text\r\nX-SES-A: b\r\n", self.HOP),
            (COMPLETE + b"X-SES-A: b\r\nSubject: twice\r\n\r\nhi", NextHop()),
        ):
            self.assertTrue(is_finished(mail, hop))
            self.assertEqual(finish(mail, hop), mail)


class MissingTests(SynchronousTestCase):
    def test_all_are_added(self) -> None:
        """A mail without Message-ID, Date and From gets them behind its own fields."""
        self.assertEqual(sent(b"Subject: Hi\r\n\r\nhello\r\n"), b"Subject: Hi\r\n" + ADDED + b"\r\nhello\r\n")

    def test_each_is_added_alone(self) -> None:
        """Only what is missing is added, whatever case the others are written in."""
        for line in ADDED.splitlines(keepends=True):
            others = b"".join(each for each in ADDED.splitlines(keepends=True) if each != line).upper()
            self.assertEqual(sent(others + b"\r\nhi"), others + line + b"\r\nhi")

    def test_empty_ones_are_replaced(self) -> None:
        """A From, Date or Message-ID that says nothing is as good as missing."""
        mail = b"From: \r\nDate:\r\n\t\r\nMessage-Id:\t\r\nSubject: Hi\r\n\r\nhello"
        self.assertEqual(sent(mail), b"Subject: Hi\r\n" + ADDED + b"\r\nhello")

    def test_complete_mail_stays(self) -> None:
        """A mail that has all of them leaves octet for octet as it came."""
        for mail in (
            COMPLETE + b"\r\nhello\r\n",
            COMPLETE + b"\r\n",
            COMPLETE.replace(b": ", b":") + b"\r\n.\r\n",
        ):
            self.assertTrue(plan(RECEIVED + mail).untouched)
            self.assertEqual(sent(mail), mail)

    def test_fields_within_a_field(self) -> None:
        """A name that stands within another field is no field."""
        mail = b"Subject: x\r\n\tFrom: a@b\r\nX-Date: y\r\nX-From: z\r\n\r\nDate: text\r\n"
        self.assertIn(ADDED, sent(mail))

    def test_field_that_a_signature_says_is_not_there(self) -> None:
        """A client's DKIM-Signature stays valid: what it signed to be missing is not added, but for From."""
        signature = (
            b"DKIM-Signature: v=1; d=example.com;\r\n\th=from:to:date :\r\n\tMessage-ID; bh=x; b=y\r\n"
        )
        mail = signature + b"To: a@x.example\r\n"
        self.assertEqual(sent(mail + b"\r\nhi"), mail + b"From: ann@example.com\r\n\r\nhi")
        mail = signature.replace(b"date", b"subject") + b"To: a@x.example\r\n"
        self.assertIn(b"\r\nDate: Mon", sent(mail + b"\r\nhi"))


class RemovedTests(SynchronousTestCase):
    def test_blind_recipients(self) -> None:
        """Bcc and Resent-Bcc do not leave: all of them, folded ones whole, in any case."""
        for field in (
            b"Bcc: boss@x.example\r\n",
            b"BCC:a@x.example,\r\n\tb@x.example,\r\n c@x.example\r\n",
            b"bcc : boss@x.example\r\n",
            b"Resent-Bcc: boss@x.example\r\n",
            b"Bcc:\r\n",
        ):
            for mail in (field + COMPLETE, COMPLETE + field, field + COMPLETE + field):
                self.assertEqual(sent(mail + b"\r\nBcc: text\r\n"), COMPLETE + b"\r\nBcc: text\r\n")

    def test_others(self) -> None:
        """So do Return-Path, which the last server writes, and Content-Length, which may be wrong now."""
        for field in (
            b"Return-Path: <a@x.example>\r\n",
            b"Content-Length: 17\r\n",
            b"RETURN-PATH:\r\n <>\r\n",
        ):
            self.assertEqual(sent(field + COMPLETE + field + b"\r\nhi"), COMPLETE + b"\r\nhi")

    def test_names_that_begin_alike(self) -> None:
        """A field is not removed for its name's beginning."""
        mail = b"Bcc-Note: x\r\nX-Bcc: y\r\nReturn-Path-Note: z\r\n" + COMPLETE + b"\r\nhi"
        self.assertEqual(sent(mail), mail)

    def test_first_and_before_ours(self) -> None:
        """A field that stands first in the stored mail goes as well."""
        mail = b"Return-Path: <a@x.example>\r\n" + COMPLETE + b"\r\nhi"
        self.assertEqual(finish(mail), COMPLETE + b"\r\nhi")


class NoHeaderTests(SynchronousTestCase):
    def test_text_alone(self) -> None:
        """A mail without any known field is all text: our fields, a blank line, the text."""
        for text in (
            b"Alarm: door open\r\nRoom: 3\r\n",
            b"just a line\r\n",
            b"Alarm: door open\r\n\r\nmore\r\n",
            b"  indented\r\nAlarm: x\r\n",
            b"Temperature: 31\r\n\tstill\r\nno field\r\n\r\n",
            b"no line end",
        ):
            finished = finish(RECEIVED + text)
            header, _, content = finished.partition(b"\r\n\r\n")
            self.assertEqual(content, text)
            self.assertTrue(header.endswith(ADDED.removesuffix(b"\r\n")))
            parsed = email.message_from_bytes(finished, policy=email.policy.default)
            self.assertEqual((parsed.keys()[0], len(parsed.keys()), parsed.defects), ("Received", 4, []))

    def test_text_behind_a_blank_line(self) -> None:
        """A mail that begins with a blank line has its text there, and no other blank line."""
        self.assertEqual(sent(b"\r\nhello\r\n"), ADDED + b"\r\nhello\r\n")
        self.assertEqual(sent(b""), ADDED + b"\r\n")

    def test_missing_blank_line(self) -> None:
        """Behind the last field that is known a line that is none begins the text."""
        finished = sent(b"Subject: Alarm\r\nThe door is open.\r\n\r\nRoom: 3\r\n")
        self.assertEqual(
            finished, b"Subject: Alarm\r\n" + ADDED + b"\r\nThe door is open.\r\n\r\nRoom: 3\r\n"
        )


class RubbishTests(SynchronousTestCase):
    def test_lines_that_are_no_fields(self) -> None:
        """A line between fields that is none does not end the header for the next hop."""
        for line in (
            b"this is no header\r\n",
            b"From x@y.example Mon Jan  1 00:00:00 2026\r\n",
            b">From x@y.example Mon Jan  1 00:00:00 2026\r\n",
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbf\r\n",
            b"S\xc3\xbcbject: x\r\n",
            b"no header: at all\r\n",
        ):
            finished = sent(line + b"To: a@x.example\r\nSubject: Hi\r\n\r\nhello\r\n")
            self.assertEqual(finished, b"To: a@x.example\r\nSubject: Hi\r\n" + ADDED + b"\r\nhello\r\n", line)

    def test_blanks_before_the_first_field(self) -> None:
        """A first field with a blank before it does not become a part of our own Received."""
        for first in (b"", b"To: a@x.example\r\n"):
            for blanks in (b" ", b"\t", b" \t "):
                finished = finish(RECEIVED + blanks + first + COMPLETE + b"\r\nhi")
                self.assertEqual(finished[-len(first + COMPLETE) - 4 :], first + COMPLETE + b"\r\nhi")
                traces = [
                    email.message_from_bytes(octets)["Received"].split() for octets in (finished, RECEIVED)
                ]
                self.assertEqual(*traces)

    def test_no_blank_line_before_the_first_boundary(self) -> None:
        """It is put in, wherever it lacks; a boundary that looks like a field is one."""
        for boundary in (b"b", b"=_part:1"):
            head = COMPLETE + b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n'
            content = b"--" + boundary + b"\r\n\r\none\r\n--" + boundary + b"--\r\n"
            finished = finish(head + content)
            self.assertEqual(finished, head + b"\r\n" + content)
            inner = b"Content-Type: multipart/mixed; boundary=c\r\n--c\r\n\r\none\r\n--c--\r\n"
            mail = head + b"\r\n--" + boundary + b"\r\n" + inner
            self.assertEqual(finish(mail), mail)

    def test_rubbish_in_a_complete_header(self) -> None:
        """So if nothing else has to be done to the mail."""
        self.assertEqual(
            sent(COMPLETE + b"rubbish\r\nTo: a@x.example\r\n\r\nhi"), COMPLETE + b"To: a@x.example\r\n\r\nhi"
        )

    def test_blind_recipient_behind_rubbish(self) -> None:
        """What is removed is removed there, too."""
        finished = sent(b"rubbish\r\nBcc: boss@x.example\r\nrubbish\r\nSubject: Hi\r\n\r\nhello")
        self.assertNotIn(b"boss", finished)

    def test_parameters_without_an_indent(self) -> None:
        """A parameter on a line of its own is folded, so that the next hop finds the boundary."""
        header = b'Subject: Hi\r\nContent-Type: multipart/mixed;\r\nboundary="B"\r\n'
        mail = header + b"\r\n--B\r\n\r\nhello\r\n--B--\r\n"
        parsed = email.message_from_bytes(sent(mail), policy=email.policy.default)
        self.assertEqual([part.get_content() for part in parsed.iter_parts()], ["hello"])

    def test_line_ends_within_a_field(self) -> None:
        """A lone CR or LF in a field begins no other one on the wire."""
        for between in (b"\r", b"\n", b"\r\r\n"):
            finished = sent(b"Subject: x" + between + b"Bcc: boss@x.example\r\nTo: a@x.example\r\n\r\nhi")
            self.assertFalse([line for line in finished.splitlines() if line.lower().startswith(b"bcc")])
            self.assertNotIn(b"\r", finished.replace(b"\r\n", b""))


class HopTests(SynchronousTestCase):
    def test_raw_fields_stay_where_they_may(self) -> None:
        """A next hop that takes 8-bit gets raw fields as they came."""
        mail = "Subject: Grüße\r\n".encode() + COMPLETE + "\r\nGrüße\r\n".encode()
        self.assertEqual(sent(mail), mail)
        self.assertTrue(plan(RECEIVED + mail).untouched)

    def test_fields_alone(self) -> None:
        """One that takes 8-bit content, but no raw fields, gets the content as it came."""
        finished = sent("Subject: Grüße\r\n\r\nGrüße\r\n".encode(), ASCII_FIELDS)
        self.assertEqual(
            finished, b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n" + ADDED + "\r\nGrüße\r\n".encode()
        )

    def test_address(self) -> None:
        """A mail with an address that only SMTPUTF8 carries is refused where it is not offered."""
        mail = "To: <jürgen@x.example>\r\n\r\nhi".encode()
        self.assertEqual(sent(mail), mail.replace(b"\r\n\r\n", b"\r\n" + ADDED + b"\r\n"))
        for hop in (SEVEN_BIT, ASCII_FIELDS):
            self.assertEqual(self.assertRaises(Refused, sent, mail, hop).code, "5.6.7")

    def test_boundary(self) -> None:
        """A boundary in raw octets stays with its delimiters, or the mail is refused."""
        mail = b'Content-Type: multipart/mixed; boundary="B\xfc"\r\n\r\n--B\xfc\r\n\r\nhi\r\n--B\xfc--\r\n'
        self.assertEqual(finish(ADDED + mail), ADDED + mail)
        for hop in (SEVEN_BIT, ASCII_FIELDS):
            self.assertEqual(self.assertRaises(Refused, sent, mail, hop).code, "5.6.3")

    def test_removed_fields_are_not_looked_at(self) -> None:
        """What does not leave need not be sayable."""
        mail = "Bcc: <jürgen@x.example>\r\n".encode() + COMPLETE + b"\r\nhi"
        self.assertEqual(sent(mail, SEVEN_BIT), COMPLETE + b"\r\nhi")

    def test_long_fields(self) -> None:
        """A field too long for a line is folded; one of which nothing can stay is as good as missing."""
        finished = sent(b"Message-ID: <" + b"x" * 2000 + b">\r\nSubject: " + b"word " * 600 + b"\r\n\r\nhi")
        self.assertIn(b"\r\nMessage-ID: <7QK2@relay.example.com>\r\n", finished)
        self.assertEqual(max(map(len, finished.split(b"\r\n"))), 75)


class ReadTests(SynchronousTestCase):
    def test_plain_headers(self) -> None:
        """What is plainly finished is so; what is not, or may not be, is looked at."""
        self.assertTrue(is_finished(RECEIVED + COMPLETE + b"\r\nhi", NextHop()))
        for mail in (
            COMPLETE,
            b"no field\r\n" + COMPLETE + b"\r\nhi",
            COMPLETE + b"Bcc: x\r\n\r\n",
            b"Bcc: x\r\n" + COMPLETE + b"\r\n",
            COMPLETE.replace(b"Message-ID", b"X-Id") + b"\r\n",
            COMPLETE.replace(b"Ann <ann@example.com>", b"") + b"\r\n",
            COMPLETE.replace(b"Hi", b"a\rBcc: x") + b"\r\n",
            COMPLETE + b"X: y" * 10_000 + b"\r\n\r\n",
            b"",
        ):
            self.assertFalse(is_finished(mail, NextHop()))

    def test_pairs(self) -> None:
        """A header has the fields, and the end, that other readers of the mail find in it."""
        for mail in (
            b"Subject: a\r\n\tb\xfc\r\nX: y\r\n\r\nhello",
            b"no field\r\nSubject: a\r\n  b\r\n\r\n",
            b"Subject: a\r\nx@y: b\r\n\r\nhello",
            b"Subject: a\r\nhello\r\n\r\nhello",
            b"To: a\r\n" * 3000 + b"\r\n",
            b"\r\nTo: a\r\n\r\n",
            b"hello",
            b"",
        ):
            for octets in (mail, RECEIVED + mail, RECEIVED + b" " + mail):
                header, content = read(octets)
                self.assertEqual((header.pairs(), content), split(octets))

    def test_linear(self) -> None:
        """Twice the octets of a header take about twice the steps, whatever they are."""
        for start, piece in (
            (b"", b"x"),
            (b"", b"a: b\r\n"),
            (b"Subject: a\r\n", b" x\r\n"),
            (b"Subject: a\r\n", b"no field\r\n"),
            (b"", b"bcc: a\r\n"),
            (b"", b"\r"),
        ):
            once, twice = (counted(partial(finish, start + piece * n), "/mime/") for n in (3000, 6000))
            self.assertLess(twice, 2.3 * once + 3000, (start, piece))
