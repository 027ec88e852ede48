"""What is read in the refusals of Amazon SES."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.http.outcomes import ServiceError
from smtprelay.providers.ses.errors import error_of

XML = b"<ErrorResponse><Error><Type>Sender</Type><Code>%b</Code><Message>%b</Message></Error></ErrorResponse>"


class ErrorTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """The code is in a header, in JSON or in XML, perhaps with a URL; else there is none."""
        for header, body, code, message in (
            ("MessageRejected:http://x/", b'{"message": "virus"}', "MessageRejected", "virus"),
            ("BadRequestException", b'{"Message": "x"}', "BadRequest", "x"),
            ("", b'{"__type": "com.amazon#AccessDeniedException", "message": "no"}', "AccessDenied", "no"),
            ("", XML % (b"Throttling", b"a &lt;b&gt;"), "Throttling", "a <b>"),
            ("", b"<html>hello", "", ""),
            ("", b"\xff", "", ""),
            ("", b"[1]", "", ""),
            ("", b'{"message": 7}', "", "7"),
        ):
            self.assertEqual(error_of(400, header, body), ServiceError(400, code, message), body)

    def test_secrets_are_not_repeated(self) -> None:
        """AWS repeats a request with a wrong signature, with its session token: we do not."""
        said = b"It does not match. The Canonical String for this request should have been 'x-amz-..."
        self.assertEqual(
            error_of(400, "", XML % (b"SignatureDoesNotMatch", said)).message, "It does not match."
        )

    def test_long(self) -> None:
        """A message is cut, and reading one of a megabyte takes no time."""
        self.assertEqual(len(error_of(400, "", XML % (b"X", b"y" * 1_000_000)).message), 500)
        self.assertEqual(error_of(400, "", b"<Code>" * 200_000).code, "")
