"""An event for the webhook survives the death of the relay, and comes to a real HTTP server."""

import base64
import hmac
import json
import signal
from hashlib import sha256

from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tests.process.program import eventually
from tests.process.relay_process import CONFIG, RelayProcess, message
from tests.process.stage import Stage


class Receiver(Resource):
    """Keeps what is posted; answers 503 while it is ``busy``."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.busy = True
        self.posts: list[tuple[dict[str, str], bytes]] = []

    def render_POST(self, request: Request) -> bytes:
        named = {name: request.getHeader(name) or "" for name in ("webhook-id", "webhook-timestamp")}
        named["signature"] = request.getHeader("webhook-signature") or ""
        self.posts.append((named, request.content.read()))
        request.setResponseCode(503 if self.busy else 204)
        return b""


class WebhookTests(Stage, TestCase):
    async def test_an_event_survives_the_death_of_the_relay(self) -> None:
        """Refused for now, killed, started again: the event comes, signed, under the same id."""
        receiver = Receiver()
        port = reactor.listenTCP(0, Site(receiver), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        acs = await self.fake_acs()
        (self.folder / "acs.key").write_text(acs.connection_string())
        (self.folder / "hook").write_text(f"http://127.0.0.1:{port.getHost().port}/hook\n")
        provider = (
            'out: {type: acs, connection_string: {file: acs.key}, sender: a@mail.test, accept_on: "202"}'
        )
        config = CONFIG.format(provider=provider, listener="").replace(
            "via: [out],", "via: [out], on_failed: webhook,"
        )
        relay = self.ending(
            RelayProcess(self.folder, config + "webhook: {url: {file: hook}, secret: whsec_a2V5}\n")
        )
        await relay.start()
        await acs.refuse("of the bad mail", status=400, code="BadThing", message="Never.")
        await relay.send(message("bad", text="text of the bad mail"), "bad@example.com")
        await eventually(lambda: len(receiver.posts) > 1, "a second try")

        async def is_deferred() -> bool:
            waiting = [(each["provider"], each["state"]) for each in await relay.queued()]
            return waiting == [("webhook", "deferred")]

        await eventually(is_deferred, "the event as a deferred delivery")
        await relay.life.stop(signal.SIGKILL)
        receiver.busy = False
        await relay.start()
        await relay.life.says(r'"message\.delivered"')
        self.assertEqual(len({headers["webhook-id"] for headers, _ in receiver.posts}), 1)
        headers, body = receiver.posts[-1]
        event = json.loads(body)
        [recipient] = event["recipients"]
        self.assertEqual((recipient["address"], event["subject"]), ("bad@example.com", "bad"))
        self.assertIn("400 BadThing: Never.", recipient["reason"])
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.digest(b"key", signed, sha256)).decode()
        self.assertEqual(headers["signature"], f"v1,{digest}")
        self.assertEqual(await relay.queued(), [])
