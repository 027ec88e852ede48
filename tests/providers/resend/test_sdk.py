"""Resend's own SDK against our fake."""

from typing import Any

import resend
from resend.exceptions import ResendError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
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

    def send(self, **fields: Any) -> "Deferred[Any]":
        request = {"from": "Ann <ann@mail.example.com>", "to": [BOB], "subject": "Hi", "text": "hello"}
        return deferToThread(resend.Emails.send, {**request, **fields}, {"idempotency_key": "k1"})

    async def refusal(self, **fields: Any) -> tuple[int, str]:
        error = await self.assertFailure(self.send(**fields), ResendError)
        return error.code, error.error_type

    async def test_sent(self) -> None:
        """A mail with a file; sent again with its key it is the same mail."""
        file = {"filename": "a.bin", "content": list(b"\0\1")}
        fields = {"cc": [CY], "headers": {"X-A": "1"}, "attachments": [file]}
        answer = await self.send(**fields)
        [mail] = self.fake.mails
        self.assertEqual((answer["id"], mail.key, mail.recipients), (mail.id, "k1", [BOB, CY]))
        self.assertEqual((await self.send(**fields))["id"], mail.id)
        self.assertEqual(len(self.fake.mails), 1)

    async def test_refused(self) -> None:
        """Refusals are the exceptions that they should be."""
        for fields, expected in (
            ({"from": "a@other.example"}, (403, "validation_error")),
            ({"to": ["nobody"]}, (422, "validation_error")),
            ({"text": ""}, (422, "missing_required_field")),
            ({"attachments": [{"filename": "a.txt"}]}, (422, "invalid_attachment")),
        ):
            self.assertEqual(await self.refusal(**fields), expected)
        await self.send()
        self.assertEqual(await self.refusal(subject="Other"), (409, "invalid_idempotent_request"))
        self.fake.script(ResendRefuses(429, "rate_limit_exceeded", "Too many requests."))
        self.assertEqual(await self.refusal(), (429, "rate_limit_exceeded"))
        self.patch(resend, "api_key", "re_wrong")
        self.assertEqual(await self.refusal(), (401, "validation_error"))
