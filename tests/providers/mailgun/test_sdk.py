"""Mailgun's own SDK against our fake."""

from typing import Any

from mailgun.client import Client
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from smtprelay.testing.mailgun import FakeMailgun, MailgunRefuses
from tests.providers.http_wiring import served
from tests.providers.mailgun_wiring import BOB, CY, DOMAIN, KEY, MAIL


class SdkTests(TestCase):
    """It sends mail in MIME through our fake as through the real service."""

    timeout = 60

    def setUp(self) -> None:
        self.fake = FakeMailgun(reactor, KEY, [DOMAIN])
        self.port = served(self, self.fake)

    async def send(self, key: str = KEY, domain: str = DOMAIN, **fields: Any) -> Any:
        def run() -> Any:
            with Client(auth=("api", key), api_url=f"http://127.0.0.1:{self.port}") as client:
                files = {"message": ("message.eml", MAIL)}
                return client.mimemessage.create(data={"to": [BOB, CY], **fields}, files=files, domain=domain)

        return await deferToThread(run)

    async def test_sent(self) -> None:
        """A mail with options."""
        answer = await self.send(**{"o:tag": "relay"})
        [mail] = self.fake.mails
        self.assertEqual(answer.json(), {"id": mail.id, "message": "Queued. Thank you."})
        self.assertEqual((mail.raw, list(mail.recipients)), (MAIL, [BOB, CY]))
        self.assertEqual(mail.options, {"o:tag": "relay"})

    async def test_refused(self) -> None:
        """What is wrong is told as the real service tells it."""
        self.assertEqual((await self.send(key="wrong")).status_code, 401)
        self.assertEqual((await self.send(domain="x.example")).status_code, 404)
        self.assertIn("not a valid address", (await self.send(to="nobody")).json()["message"])
        self.fake.script(MailgunRefuses(403, "Domain is not allowed to send"))
        self.assertEqual((await self.send()).status_code, 403)
        self.assertEqual(self.fake.mails, [])
