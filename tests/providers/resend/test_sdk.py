"""Resend's own SDK against our fake."""

from typing import Any

import resend
from resend.exceptions import ResendError
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.resend import FakeResend, ResendRefuses
from tests.providers.http_wiring import served
from tests.providers.resend_wiring import BOB, CY, KEY


class SdkTests(TestCase):
    """It sends mail through our fake as through the real service."""

    timeout = 60

    def setUp(self) -> None:
        self.fake = FakeResend(reactor, [KEY], ["mail.example.com"])
        self.patch(resend, "api_url", f"http://127.0.0.1:{served(self, self.fake)}")
        self.patch(resend, "api_key", KEY)

    async def send(self, key: str = "k1", **fields: Any) -> Any:
        request = {"from": "Ann <ann@mail.example.com>", "to": [BOB], "subject": "Hi", "text": "hello"}
        return await deferToThread(resend.Emails.send, {**request, **fields}, {"idempotency_key": key})

    async def refusal(self, **fields: Any) -> ResendError:
        return await self.assertFailure(self.deferred(**fields), ResendError)

    def deferred(self, **fields: Any) -> Any:
        request = {"from": "ann@mail.example.com", "to": [BOB], "subject": "Hi", "text": "x", **fields}
        return deferToThread(resend.Emails.send, request)

    async def test_sent(self) -> None:
        """A mail with a file; sent again with its key it is the same mail."""
        file = {"filename": "a.bin", "content": list(b"\0\1")}
        fields = {"cc": [CY], "headers": {"X-A": "1"}}
        answer = await self.send(**fields)
        [mail] = self.fake.mails
        self.assertEqual((answer["id"], mail.key, mail.recipients), (mail.id, "k1", [BOB, CY]))
        self.assertEqual((await self.send(**fields))["id"], mail.id)
        self.assertEqual(len(self.fake.mails), 1)
        del file

    async def test_refused(self) -> None:
        """Refusals are the exceptions that they should be."""
        for fields, code, kind in (
            ({"from": "a@other.example"}, 403, "validation_error"),
            ({"to": ["nobody"]}, 422, "validation_error"),
            ({"text": ""}, 422, "missing_required_field"),
            ({"attachments": [{"filename": "a.txt"}]}, 422, "invalid_attachment"),
        ):
            error = await self.refusal(**fields)
            self.assertEqual((error.code, error.error_type), (code, kind))
        await self.send()
        error = await self.assertFailure(self.again(), ResendError)
        self.assertEqual((error.code, error.error_type), (409, "invalid_idempotent_request"))
        self.fake.script(ResendRefuses(429, "rate_limit_exceeded", "Too many requests."))
        self.assertEqual((await self.refusal()).error_type, "rate_limit_exceeded")
        self.patch(resend, "api_key", "re_wrong")
        self.assertEqual((await self.refusal()).code, 401)

    def again(self) -> Any:
        request = {"from": "ann@mail.example.com", "to": [BOB], "subject": "Other", "text": "x"}
        return deferToThread(resend.Emails.send, request, {"idempotency_key": "k1"})
