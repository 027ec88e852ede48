import hashlib
from calendar import timegm

from botocore.credentials import ReadOnlyCredentials
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.ses.credentials import AwsAccess
from smtprelay.providers.ses.signature import signed_headers
from tests.providers.ses_wiring import KEY, SECRET


class SignatureTests(SynchronousTestCase):
    def test_vector(self) -> None:
        """The signatures are those of botocore for the same request at the same time."""
        body = b'{"FromEmailAddress":"a@example.com"}'
        url = "https://email.eu-west-1.amazonaws.com/v2/email/outbound-emails"
        now = timegm((2026, 11, 20, 9, 30, 0))
        for token, signature in (
            (None, "5e499419d67531b7ac01a213d33e8882a497bc4abf33d0f1d185cfc55cd8a1ea"),
            ("TOKEN", "ffa79626acc97de29157dae23fe031df9ddb4769932353ac6510c29c0507a282"),
        ):
            access = AwsAccess(ReadOnlyCredentials(KEY, SECRET, token), "eu-west-1", "")
            headers = signed_headers(
                access,
                "POST",
                url,
                {"Content-Type": "application/json"},
                digest=hashlib.sha256(body).hexdigest(),
                now=now,
            )
            self.assertEqual(headers["Authorization"].rpartition("=")[2], signature)
            self.assertEqual(headers["X-Amz-Date"], "20261120T093000Z")
            self.assertEqual(headers.get("X-Amz-Security-Token"), token)

    def test_hidden(self) -> None:
        """No secret is in what is printed of the credentials."""
        text = repr(AwsAccess(ReadOnlyCredentials(KEY, SECRET, "TOKEN"), "eu-west-1", "https://x"))
        self.assertNotIn(SECRET, text)
        self.assertNotIn("TOKEN", text)
