from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.outcome import Blocked, Deferred, Failed, Throttled, Uncertain
from smtprelay.providers.graph.errors import error_of
from smtprelay.testing.graph_mail import GraphRefuses
from tests.providers.graph_wiring import ANN, BOB, JoinedGraph

#: Status and code, what that means, and the code for the bounce.
MEANINGS = [
    (400, "ErrorMimeContentInvalidBase64String", Failed, "5.6.0"),
    (400, "ErrorInvalidRecipients", Failed, "5.1.3"),
    (400, "BadRequest", Failed, "5.6.0"),
    (400, "RequestBodyRead", Failed, "5.6.0"),
    (400, "ErrorInvalidRequest", Failed, "5.6.0"),
    (400, "SomethingNew", Deferred, ""),
    (401, "InvalidAuthenticationToken", Blocked, ""),
    (401, "unauthenticated", Blocked, ""),
    (403, "ErrorAccessDenied", Blocked, ""),
    (403, "ErrorMessageSubmissionBlocked", Blocked, ""),
    (403, "SomethingNew", Blocked, ""),
    (403, "ErrorSendAsDenied", Deferred, ""),
    (403, "ErrorQuotaExceeded", Deferred, ""),
    (507, "ErrorQuotaExceeded", Deferred, ""),
    (404, "MailboxNotEnabledForRESTAPI", Blocked, ""),
    (404, "ErrorInvalidUser", Blocked, ""),
    (404, "Request_ResourceNotFound", Blocked, ""),
    (404, "ResourceNotFound", Blocked, ""),
    (404, "ErrorItemNotFound", Deferred, ""),
    (413, "", Failed, "5.3.4"),
    (413, "RequestEntityTooLarge", Failed, "5.3.4"),
    (400, "ErrorMessageSizeExceeded", Failed, "5.3.4"),
    (429, "ApplicationThrottled", Throttled, ""),
    (429, "TooManyRequests", Throttled, ""),
    (429, "activityLimitReached", Throttled, ""),
    (429, "SomethingNew", Throttled, ""),
    *((status, "ErrorExceededMessageLimit", Throttled, "") for status in (400, 403, 429)),
    (409, "ErrorIrresolvableConflict", Deferred, ""),
    (423, "ErrorIrresolvableConflict", Deferred, ""),
    (500, "ErrorInternalServerError", Deferred, ""),
    (500, "ErrorMailboxStoreUnavailable", Deferred, ""),
    (503, "ErrorMailboxStoreUnavailable", Deferred, ""),
    (503, "SomethingNew", Throttled, ""),
    (509, "", Throttled, ""),
    (502, "", Uncertain, ""),
    (504, "", Uncertain, ""),
    (504, "ErrorInternalServerError", Uncertain, ""),
    # Only one success is one.
    (200, "", Deferred, ""),
    (201, "", Deferred, ""),
]


class MeaningTests(SynchronousTestCase):
    def test_each(self) -> None:
        """What each refusal means: it names the request, and stops or slows down no lane but its own."""
        joined = JoinedGraph()
        for status, code, kind, enhanced in MEANINGS:
            joined.fake.script(GraphRefuses(status, code, "in its words"))
            outcome = joined.deliver()[BOB]
            self.assertIsInstance(outcome, kind, (status, code, outcome))
            self.assertIn(f"(request-id request-{len(joined.fake.asked)})", outcome.why)
            if isinstance(outcome, Failed):
                self.assertEqual(outcome.code, enhanced, (status, code))
            if isinstance(outcome, Blocked | Throttled):
                self.assertEqual(outcome.lane, ANN, (status, code))
        self.assertEqual(joined.fake.mails, [])

    def test_quota(self) -> None:
        """A mailbox that has sent its mail of the day waits for an hour, unless Graph names a time."""
        joined = JoinedGraph()
        joined.fake.script(GraphRefuses(403, "ErrorExceededMessageLimit"))
        self.assertEqual(joined.deliver()[BOB].retry_after, 3600)
        joined.fake.script(GraphRefuses(429, "ErrorExceededMessageLimit", headers={"Retry-After": "60"}))
        self.assertEqual(joined.deliver()[BOB].retry_after, 60)

    def test_too_large_in_words(self) -> None:
        """A request that is too large may be told of in a sentence only."""
        joined = JoinedGraph()
        for text in ("The maximum request length supported is 4MB.", "Maximum request length exceeded."):
            joined.fake.script(GraphRefuses(400, "BadRequest", text))
            self.assertEqual(joined.deliver()[BOB].code, "5.3.4")

    def test_within_another(self) -> None:
        """Of errors within one another the innermost that is known counts; a proxy's page is no error."""
        self.assertEqual(
            error_of(b'{"error":{"code":"TooManyRequests","message":"m","innererror":{"code":"X"}}}').code,
            "TooManyRequests",
        )
        inner = (
            b'{"error":{"code":"generalException","innerError":{"code":"ErrorSendAsDenied","message":"n"}}}'
        )
        error = error_of(inner)
        self.assertEqual((error.code, error.message), ("ErrorSendAsDenied", "n"))
        for body in (b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"innerError":{"innerError":[]}}}'):
            self.assertEqual((error_of(body).code, error_of(body).message), ("", ""))

    def test_deep(self) -> None:
        """An answer of many errors within one another is read up to a bound."""
        body = b'{"error":' + b'{"code":"A","innerError":' * 200 + b"{}" + b"}" * 200 + b"}"
        self.assertEqual(error_of(body).code, "A")
