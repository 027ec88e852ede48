"""
``smtprelay demo``: the whole relay on one machine, with a provider of its own.

Nothing in it is pretended but the cloud: the real listener, spool and ``acs`` client,
speaking over loopback to :class:`smtprelay.testing.acs.FakeAcs`, which checks each
request as strictly as the service does. The page shows what arrived there.
"""

import base64
import secrets
import shutil
import smtplib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import partial
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.web.server import Site

from smtprelay.program import program
from smtprelay.service.command import begin_log, load_or_exit, run_service, stop, watch
from smtprelay.service.errors import UNAVAILABLE
from smtprelay.service.relay import Relay
from smtprelay.service.signals import at_hangup, end_at_second
from smtprelay.telemetry.log import Handler
from smtprelay.testing.acs import FakeAcs, Operation
from smtprelay.testing.certificates import make_certificate
from smtprelay.web.captured_mail import CapturedAttachment, CapturedMessage
from smtprelay.web.site import NamelessRequest

_CONFIG: Final = """\
hostname: demo.localhost
listeners:
  - name: demo
    endpoint: "tcp:{smtp}:interface=127.0.0.1"
    tls: {{certificate: {folder}/tls/certificate.pem, key: {folder}/tls/key.pem}}
providers:
  acs:
    type: acs
    connection_string: {{file: {folder}/connection_string}}
    sender: DoNotReply@example.com
    sender_domains: [example.com]
    accept_on: "202"
http:
  - {{endpoint: "tcp:{http}:interface=127.0.0.1", serve: [dashboard, api, health, metrics]}}
spool: {{path: {folder}/spool, retention: {{history: 3d, bodies: 3d}}}}
logging: {{format: text, levels: {{smtprelay.config: warn}}}}
"""

_WELCOME: Final = """
  SMTP   127.0.0.1:{smtp}      no login needed from this machine; nothing leaves it
         STARTTLS with a certificate made for this run; {folder}/tls/ca.pem trusts it
  Page   http://127.0.0.1:{http}/      the mails that reached the provider
  Try    {program} -c {folder}/smtprelay.yaml send --server 127.0.0.1:{smtp} --to you@example.com
         swaks --server 127.0.0.1:{smtp} --to you@example.com --attach @README.rst
  See    {program} -c {folder}/smtprelay.yaml queue list --state delivered
         curl http://127.0.0.1:{http}/metrics

  Ctrl-C ends it; {folder} is removed then.

"""

#: A red dot, to be shown inside the sample's HTML.
_DOT: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAA"
    "AABJRU5ErkJggg=="
)


def run(*, smtp_port: int = 2525, http_port: int = 8025) -> int:
    """Run the demo in the foreground until it is stopped; return the exit status."""
    from twisted.internet import reactor  # noqa: PLC0415

    folder = tempfile.mkdtemp(prefix="smtprelay-demo-")
    status: list[int] = []
    try:
        _start(Path(folder), smtp_port, http_port, reactor, status.append)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if UNAVAILABLE in status:
        sys.stderr.write("smtprelay: --smtp-port and --http-port choose other ports, 0 is any free one\n")
    return status[0] if status else 0


def _start(folder: Path, smtp: int, http: int, reactor: Any, failed: Callable[[int], object]) -> None:
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    fake = FakeAcs(reactor, keys=[key], steps=())
    site = _FakeAcsSite(fake, requestFactory=NamelessRequest)
    cloud = reactor.listenTCP(0, site, interface="127.0.0.1").getHost()
    secret = f"endpoint=http://127.0.0.1:{cloud.port}/;accesskey={key}\n"
    _write(folder / "connection_string", secret)
    make_certificate(folder / "tls")
    _write(folder / "smtprelay.yaml", _CONFIG.format(folder=folder, smtp=smtp, http=http))
    loaded = load_or_exit(str(folder / "smtprelay.yaml"), [])

    def welcome(_: object) -> None:
        listening = {"smtp": relay.addresses["demo"].port, "http": relay.addresses["http1"].port}
        sys.stdout.write(_WELCOME.format(folder=folder, program=program(), **listening))
        sys.stdout.flush()
        sample = Deferred.fromCoroutine(_in_thread(reactor, _send_sample, listening["smtp"]))
        sample.addErrback(lambda failure: sys.stderr.write(f"the sample mail failed: {failure.value}\n"))

    captured = DemoMail(fake)
    relay = Relay(loaded.config, reactor, events=[begin_log(loaded, reactor), captured], captured=captured)
    relay.started.addCallback(welcome)
    watch(relay, reactor, failed)
    # A terminal that is closed ends it as Ctrl-C does.
    at_hangup(reactor).append(partial(stop, reactor))
    end_at_second(reactor, partial(shutil.rmtree, folder, ignore_errors=True))
    run_service(relay, reactor)


class _FakeAcsSite(Site):
    """The fake's site, whose access log does not belong into the relay's."""

    noisy = False

    def log(self, request: Any) -> None:
        """Write nothing."""


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")


async def _in_thread(reactor: Any, function: Callable[..., object], *arguments: object) -> None:
    from twisted.internet.threads import deferToThreadPool  # noqa: PLC0415 -- imports the reactor

    await deferToThreadPool(reactor, reactor.getThreadPool(), function, *arguments)


def sample_mail() -> EmailMessage:
    """Return the mail that the demo sends to itself: text, HTML with an image, and an attachment."""
    mail = EmailMessage()
    mail["Subject"] = "Welcome – your relay works ✓"
    mail["From"] = "Demo <demo@example.com>"
    mail["To"] = "You <you@example.com>"
    mail["Cc"] = "A colleague <colleague@example.com>"
    mail["Date"] = formatdate(localtime=True)
    mail["Message-ID"] = make_msgid(domain="demo.localhost")
    mail["X-Demo"] = "yes"
    mail.set_content("This mail came in by SMTP, lay safely on disk, and left through an HTTP API.\n")
    mail.add_alternative(
        "<p>This mail came in by <b>SMTP</b>, lay safely on disk, and left through an HTTP API."
        ' <img src="cid:dot" alt="a red dot" width="12" height="12"></p>',
        subtype="html",
    )
    *_, html = mail.iter_parts()
    assert isinstance(html, EmailMessage)
    html.add_related(_DOT, "image", "png", cid="<dot>", filename="dot.png")
    mail.add_attachment(b"a,b\r\n1,2\r\n", maintype="text", subtype="csv", filename="table.csv")
    return mail


def _send_sample(port: int) -> None:
    """Send it as any program would; one of the recipients is in no header."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="demo.localhost", timeout=30) as client:
        client.send_message(
            sample_mail(),
            "demo@example.com",
            ["you@example.com", "colleague@example.com", "blind@example.com"],
        )


@define(eq=False)
class DemoMail:
    """
    The captured mail of the demo: what its fake provider accepted.

    It receives the relay's events, which have the id and the size of each accepted mail.
    """

    _fake: FakeAcs
    #: Made once: attachments take long to decode.
    _made: dict[str, CapturedMessage] = field(factory=dict, init=False)
    _messages: dict[str, str] = field(factory=dict, init=False)
    _sizes: dict[str, int] = field(factory=dict, init=False)

    def __call__(self, event: str, /, **fields: object) -> None:
        """Take note of mail that was queued or delivered."""
        handler = self.handler_for(event)
        if handler is not None:
            handler(fields)

    def handler_for(self, event: str) -> Handler | None:
        """Return the handler of ``event``; ``None``: the log need not send it here."""
        return {"message.queued": self._queued, "message.delivered": self._delivered}.get(event)

    def list(self) -> Sequence[CapturedMessage]:
        """Return the mails that went out, the newest first."""
        return [self._mail(operation) for operation in reversed(self._shown())]

    def get(self, id: str) -> CapturedMessage | None:  # noqa: A002 -- the interface's name
        """Return one mail by its operation id, or by the id of its 250."""
        return next((mail for mail in self.list() if id in (mail.id, mail.message)), None)

    def delete(self, ids: Iterable[str]) -> int:
        """Forget what these mails held; the operations stay, for the relay may still ask for them."""
        wanted = set(ids)
        found = [operation for operation in self._shown() if operation.id in wanted]
        for operation in found:
            operation.request = {}
            self._made.pop(operation.id, None)
        return len(found)

    def _shown(self) -> Sequence[Operation]:
        return [operation for operation in self._fake.mails if operation.request]

    def _queued(self, fields: Mapping[str, Any]) -> None:
        self._sizes[fields["message"]] = fields["size"]

    def _delivered(self, fields: Mapping[str, Any]) -> None:
        for name in fields["provider_id"].split(", "):
            self._messages[name] = fields["message"]

    def _mail(self, operation: Operation) -> CapturedMessage:
        made = self._made.get(operation.id)
        if made is None:
            made = self._made[operation.id] = _mail(operation)
        message = self._messages.get(operation.id, "")
        return evolve(made, message=message, size=self._sizes.get(message, 0))


def _mail(operation: Operation) -> CapturedMessage:
    request = operation.request
    recipients = request["recipients"]
    return CapturedMessage(
        id=operation.id,
        received=operation.time,
        sender=request["senderAddress"],
        to=_addresses(recipients.get("to")),
        cc=_addresses(recipients.get("cc")),
        bcc=_addresses(recipients.get("bcc")),
        subject=request["content"].get("subject", ""),
        headers=[
            *request.get("headers", {}).items(),
            *(("Reply-To", each) for each in _addresses(request.get("replyTo"))),
        ],
        text=request["content"].get("plainText") or "",
        html=request["content"].get("html"),
        attachments=[
            CapturedAttachment(
                each["name"],
                each["contentType"],
                base64.b64decode(each["contentInBase64"]),
                each.get("contentId") or "",
            )
            for each in request.get("attachments", ())
        ],
    )


def _addresses(entries: Sequence[dict[str, str]] | None) -> list[str]:
    return [
        f"{each['displayName']} <{each['address']}>" if each.get("displayName") else each["address"]
        for each in entries or ()
    ]
