from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import read
from smtprelay.mime.plain import is_plain

FIELDS = st.sampled_from(
    (
        b"From: a@x.org",
        b"Subject: =?utf-8?q?a?=",
        b"Subject: =?hz-gb-2312?q?a?=",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Type: text/plain; charset=hz-gb-2312",
        b"Content-Type: text/plain;",
        b"charset=utf-7",
        b" charset=utf-16",
        b"Content-Type: text/html",
        b"Content-Type: multipart/mixed; boundary=b",
        b"Content-Transfer-Encoding: base64",
        b"Content-Transfer-Encoding: 7bit",
        b"Content-Disposition: inline; filename=a.txt",
        b"no field",
    )
)


class PlainTests(SynchronousTestCase):
    def test_headers(self):
        """A mail is one text if its header is regular, and says so or nothing."""
        cases = {
            b"": True,
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n": True,
            b"Content-Type: text/plain;\r\n charset=us-ascii\r\n": True,
            b"Subject: =?utf-8?q?a?=\r\n": True,
            b"Content-Type: text/plain; charset=iso-2022-jp\r\n": False,
            b"Content-Type: text/plain; charset=utf-7\r\n": False,
            b"Content-Type: text/html\r\n": False,
            b"Content-Type: multipart/mixed; boundary=b\r\n": False,
            b"Content-Type: text/plain; name=a.txt\r\n": False,
            b"Content-Disposition: attachment\r\n": False,
            b"Content-Transfer-Encoding: quoted-printable\r\n": False,
            b"CONTENT-TRANSFER-ENCODING: Base64\r\n": False,
            b"Subject: =?hz-gb-2312?q?a?=\r\n": False,
            b"no field\r\n": False,
            b"X-A: b\n": False,
        }
        for fields, expected in cases.items():
            self.assertIs(is_plain(b"From: a@x.org\r\n" + fields), expected, fields)
        self.assertFalse(is_plain(b""))

    @given(
        fields=st.lists(FIELDS, max_size=4),
        body=st.text(st.sampled_from("a~{}+-&\r\n\"'=4B\0\t"), max_size=40),
    )
    def test_what_is_read(self, fields: list[bytes], body: str):
        """Of such a mail each octet behind the header is a character of its text, but for controls."""
        block = b"".join(field + b"\r\n" for field in (b"From: a@x.org", *fields))
        if not is_plain(block):
            return
        mail = read(block + b"\r\n" + body.encode())
        clean = body.replace("\0", "")
        self.assertEqual((mail.text, mail.html, mail.attachments), (clean if clean.strip() else "", None, []))
