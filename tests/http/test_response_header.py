"""The headers of an answer, whatever octets they have."""

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from smtprelay.http.client import Response


class HeaderTests(SynchronousTestCase):
    def test_no_utf_8(self) -> None:
        """A service that writes no UTF-8 breaks nothing; the last value counts."""
        answer = Response(429, Headers({b"Retry-After": [b"7", b"\xff\xfe"]}), b"", True)
        self.assertEqual((answer.header("retry-after"), answer.header("Date")), ("\xff\xfe", ""))
