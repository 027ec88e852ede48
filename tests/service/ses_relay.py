"""What tests of a relay before Amazon SES share."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

import treq
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smtprelay.config import load
from smtprelay.service import Relay
from tests.ports import free_port
from tests.process.conversation import Conversation
from tests.providers.aws_peers import environment
from tests.providers.http_wiring import Server
from tests.recording import Recording

EXAMPLES = Path(__file__).parents[2] / "etc" / "examples"
MAIL = b"From: app@example.org\r\nSubject: test\r\nBcc: b@example.net\r\n\r\nHello\r\n"


class SesRelayCase:
    """Starts a test's relays before fakes, each in a folder of its own."""

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="smtprelay-"))
        self.addCleanup(rmtree, self.folder)

    def serve(self, resource: Resource) -> str:
        """Serve ``resource`` until the test ends; return its URL."""
        server = Server(Site(resource))
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(server.close)
        return f"http://127.0.0.1:{port.getHost().port}"

    async def start(self, path: Path, variables: Mapping[str, str], *more: str) -> None:
        """Have a relay with a configuration, its places and ``more`` replaced, and these variables."""
        here = environment(variables)
        here.__enter__()
        self.addCleanup(here.__exit__, None, None, None)
        self.smtp, *self.sites = (free_port() for _ in range(3))
        sets = [
            f"control_socket={self.folder}/c.sock",
            f"listeners.0.endpoint=tcp:{self.smtp}:interface=127.0.0.1",
        ]
        text = path.read_text()
        sites = enumerate(self.sites[: text.count("serve:")])
        sets += [f"http.{n}.endpoint=tcp:{port}:interface=127.0.0.1" for n, port in sites]
        if "spool:" in text:
            sets.append(f"spool.path={self.folder}/spool")
        sets += more
        self.events = Recording()
        self.relay = Relay(load(str(path), variables, sets).config, reactor, events=[self.events])
        self.relay.startService()
        self.addCleanup(lambda: self.relay.stopService() if self.relay.running else None)
        await self.relay.started

    async def send(self, *recipients: str, sender: str = "app@example.org") -> str:
        talk = await Conversation.open(self.smtp)
        self.addCleanup(talk.close)
        await talk.say("EHLO client.test")
        await talk.say(f"MAIL FROM:<{sender}>")
        for recipient in recipients:
            await talk.say(f"RCPT TO:<{recipient}>")
        await talk.say("DATA")
        return await talk.say(MAIL.decode().replace("app@example.org", sender) + "\r\n.")

    async def get(self, site: int, path: str) -> tuple[int, str]:
        response = await treq.get(f"http://127.0.0.1:{self.sites[site]}{path}", persistent=False)
        return response.code, await response.text()


class Silence(Resource):
    """Takes requests and answers none."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []

    def render(self, request: Request) -> int:
        request.notifyFinish().addErrback(lambda _: None)
        self.asked.append(request)
        return NOT_DONE_YET

    def end(self) -> None:
        for request in self.asked:
            request.loseConnection()
