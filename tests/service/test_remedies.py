"""
For every rule that a setting can change: a relay refuses, what its list names is applied, it accepts.
"""

import json
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from copy import deepcopy
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from attrs import field, frozen
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from smtprelay.config import load
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.policy.password_hash import hash_password
from smtprelay.service import Relay
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SmtpSink
from smtprelay.web.remedies import REMEDIES, remedy
from tests.process.conversation import Conversation
from tests.recording import Recording

MAIL, RCPT = "MAIL FROM:<app@here.test>", "RCPT TO:<user@there.test>"
CONTENT = ("DATA", "Subject: x\r\n\r\nhello\r\n.")
TRANSACTION = ("EHLO c", MAIL, RCPT, *CONTENT)
ELSEWHERE = ["10.0.0.0/8"]
HASH = hash_password(b"secret", bytes(16), ln=10)


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def plain(name: str) -> str:
    return "AUTH PLAIN " + b64(f"\0{name}\0secret")


JOE = {"name": "joe", "password_hash": HASH}
HOST = {"type": "smarthost", "host": "127.0.0.1", "port": 9, "tls": "none"}
OPEN_LOGIN = {"allow_plaintext": True}
ANY = {"checkers": {"all": {"type": "any"}}}
STARTTLS = {"mode": "starttls", "certificate": "PEM"}
LOGIN = ("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT)


@implementer(IOpenSSLClientConnectionCreator)
class Certified:
    """The TLS of a client that shows the certificate in a file, with its key."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def clientConnectionForTLS(self, _protocol: object) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_file(self.file)
        context.use_privatekey_file(self.file)
        return SSL.Connection(context, None)


@implementer(IOpenSSLClientConnectionCreator)
class OldClient:
    """The TLS of a device that knows nothing but ``version``, and RSA key exchange."""

    def __init__(self, version: int) -> None:
        self.version = version

    def clientConnectionForTLS(self, _protocol: object) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(b"AES128-SHA:@SECLEVEL=0")
        context.set_min_proto_version(self.version)
        context.set_max_proto_version(self.version)
        return SSL.Connection(context, None)


@frozen(kw_only=True)
class Story:
    """
    :ivar listener: the settings of the listener that refuses, ``users`` and so on beside it.
    :ivar said: what the client says, line by line, before and after.
    :ivar line_end: of the client's lines.
    :ivar silence: seconds before the client says the first of it.
    :ivar before: so many sessions that are open then.
    :ivar tls: what starts TLS at the client, if it says STARTTLS.
    :ivar certified: it shows the relay's own certificate then.
    :ivar header: what comes before all that, without an answer.
    """

    rule: str
    listener: dict[str, Any] = field(factory=dict)
    more: dict[str, Any] = field(factory=dict)
    said: Sequence[str] = TRANSACTION
    silence: float = 0.0
    before: int = 0
    line_end: bytes = b"\r\n"
    tls: OldClient | None = None
    certified: bool = False
    header: bytes = b""


STORIES = (
    Story(rule="network", listener={"allow_from": ELSEWHERE}),
    # Nobody can log in: there is no TLS; or there are no names but those that anybody within may use.
    Story(rule="network", listener={"allow_from": ELSEWHERE}, more={"users": [JOE]}),
    Story(
        rule="network",
        listener={"allow_from": ELSEWHERE, "auth": {"checkers": ["all"], **OPEN_LOGIN}},
        more=ANY,
    ),
    Story(
        rule="auth-network",
        listener={"allow_from": ELSEWHERE, "auth": {"checkers": ["all"], **OPEN_LOGIN}},
        more=ANY,
        said=LOGIN,
    ),
    Story(
        rule="auth-required",
        listener={"allow_from": ELSEWHERE, "auth": OPEN_LOGIN},
        more={"users": [JOE]},
    ),
    Story(rule="auth-always", listener={"auth": {"required": True, **OPEN_LOGIN}}, more={"users": [JOE]}),
    Story(rule="tls", listener={"tls": {**STARTTLS, "require": "always"}}),
    *(
        Story(
            rule="tls-handshake",
            listener={"tls": STARTTLS},
            said=("EHLO c", "STARTTLS", *TRANSACTION),
            tls=OldClient(version),
        )
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION, SSL.TLS1_2_VERSION)
    ),
    Story(
        rule="proxy-trust",
        listener={"endpoint": "haproxy:tcp:0:interface=127.0.0.1", "proxy_trust": ["192.0.2.1"]},
        header=b"PROXY TCP4 127.0.0.1 127.0.0.1 4321 25\r\n",
    ),
    Story(
        rule="tls-for-login",
        listener={"tls": STARTTLS},
        more={"users": [JOE]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(rule="login-without-tls", more={"users": [JOE]}, said=LOGIN),
    Story(
        rule="auth",
        listener={"auth": OPEN_LOGIN},
        more={"users": [{"name": "joe", "password_hash": hash_password(b"other", bytes(16), ln=10)}]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(
        rule="auth-certificate",
        listener={
            "tls": {**STARTTLS, "client_ca": "PEM"},
            "auth": {"required": True, "mechanisms": ["EXTERNAL"]},
        },
        more={"users": [{"name": "ann"}]},
        said=("EHLO c", "STARTTLS", "EHLO c", "AUTH EXTERNAL =", MAIL, RCPT, *CONTENT),
        certified=True,
    ),
    Story(
        rule="auth-user",
        listener={"auth": OPEN_LOGIN},
        more={"users": [{"name": "ann", "password_hash": HASH}]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(
        rule="mechanism",
        listener={"auth": {"mechanisms": ["PLAIN"], **OPEN_LOGIN}},
        more={"users": [JOE]},
        said=("EHLO c", f"AUTH LOGIN {b64('joe')}", b64("secret"), MAIL, RCPT, *CONTENT),
    ),
    Story(rule="auth-not-offered", said=("EHLO c", plain("NAME"), MAIL, RCPT, *CONTENT)),
    Story(rule="not-offered", said=("EHLO c", "STARTTLS")),
    Story(rule="sender", listener={"allow_senders": ["*@else.test"]}),
    Story(
        rule="user-sender",
        listener={"auth": OPEN_LOGIN},
        more={"users": [{**JOE, "senders": ["x@else.test"]}]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(rule="recipient", listener={"allow_recipients": ["*@else.test"]}),
    Story(
        rule="user-recipient",
        listener={"auth": OPEN_LOGIN},
        more={"users": [{**JOE, "recipients": ["x@else.test"]}]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(rule="route", more={"routes": [{"match": {"recipient": ["*@else.test"]}, "via": ["out"]}]}),
    Story(
        rule="size", listener={"limits": {"size": 1000}}, said=("EHLO c", f"{MAIL} SIZE=5000", RCPT, *CONTENT)
    ),
    Story(
        rule="size",
        listener={"limits": {"size": 1000}},
        said=("EHLO c", MAIL, RCPT, "DATA", "x" * 900 + ("\r\n" + "x" * 900) * 9 + "\r\n."),
    ),
    Story(
        rule="provider-size",
        more={"providers": {"out": {"type": "capture", "path": "out", "limits": {"size": 1000}}}},
        said=("EHLO c", f"{MAIL} SIZE=5000", RCPT, *CONTENT),
    ),
    Story(
        rule="provider-size",
        more={
            "providers": {
                "out": {"type": "capture", "path": "out", "limits": {"size": 1000}},
                "more": {"type": "capture", "path": "more"},
            },
            "routes": [{"match": {"size": "<9MB"}, "via": ["out"]}, {"via": ["more"]}],
        },
        said=("EHLO c", MAIL, RCPT, "DATA", "x" * 900 + ("\r\n" + "x" * 900) * 9 + "\r\n."),
    ),
    Story(
        rule="recipients",
        listener={"limits": {"recipients": 1}},
        said=("EHLO c", MAIL, RCPT, "RCPT TO:<other@there.test>", *CONTENT),
    ),
    Story(
        rule="message-rate",
        listener={"limits": {"messages": {"rate": "1/h"}}},
        said=("EHLO c", MAIL, "RSET", MAIL, RCPT, *CONTENT),
    ),
    Story(
        rule="recipients-rate",
        listener={"limits": {"recipients_rate": {"rate": "1/h", "per": "listener"}}},
        said=("EHLO c", MAIL, RCPT, "RCPT TO:<other@there.test>", *CONTENT),
    ),
    Story(rule="connections", listener={"limits": {"connections": 1}}, before=1),
    Story(rule="connections-per-client", listener={"limits": {"connections_per_client": 1}}, before=1),
    Story(
        rule="one-delivery",
        listener={"delivery": "synchronous"},
        more={"routes": [{"match": {"recipient": ["*@there.test"]}, "via": ["out"]}, {"via": ["out"]}]},
        said=("EHLO c", MAIL, RCPT, "RCPT TO:<other@else.test>", *CONTENT),
    ),
    Story(
        rule="synchronous",
        listener={"delivery": "synchronous"},
        more={"providers": {"out": HOST}},
    ),
    Story(
        rule="provider",
        listener={"delivery": "synchronous"},
        more={
            "providers": {"out": {"type": "smarthost", "host": "127.0.0.1", "port": "SINK", "tls": "none"}}
        },
    ),
    Story(
        rule="bare-newlines",
        listener={"bare_newlines": "refuse"},
        said=("EHLO c", MAIL, RCPT, "DATA", "Subject: x\n\r\n\r\nhello\r\n."),
    ),
    Story(rule="command-bare-newlines", line_end=b"\n"),
    Story(
        rule="nul",
        listener={"bare_newlines": "refuse"},
        said=("EHLO c", MAIL, RCPT, "DATA", "Subject: x\r\n\r\nhe\0llo\r\n."),
    ),
    Story(rule="timeout", listener={"limits": {"command_time": "0.1s"}}, silence=0.3),
    Story(
        rule="spool-full",
        more={
            "providers": {"out": HOST},
            "spool": {"engine": "memory", "limit": {"deliveries": 1}},
        },
        said=(*TRANSACTION, MAIL, RCPT, *CONTENT),
    ),
)


@cache
def pem_with_rsa() -> bytes:
    """Return a certificate, its key and its authority, made once: a key of RSA takes long."""
    with TemporaryDirectory() as folder:
        made = make_certificate(folder, old=True)
        return b"".join(file.read_bytes() for file in (made.certificate, made.key, made.ca))


async def answer(talk: Conversation) -> str:
    """Return the next reply, or that there was none."""
    try:
        return await talk.reply()
    except ConnectionLost:
        return "4xx: no answer"


class RemedyTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    @cached_property
    def pem(self) -> Path:
        """A certificate with its key."""
        file = self.folder / "both.pem"
        file.write_bytes(pem_with_rsa())
        file.chmod(0o600)
        return file

    def config(self, story: Story) -> dict[str, Any]:
        usual = {
            "hostname": "relay.test",
            "control_socket": f"/tmp/{self.folder.parent.name}{id(self)}.sock",
            "providers": {"out": {"type": "capture", "path": "out"}},
            "routes": [{"via": ["out"]}],
            "spool": {"engine": "memory"},
            "bounces": {"from": "m@relay.test"},
        }
        lan = {"name": "lan", "endpoint": "tcp:0:interface=127.0.0.1", **story.listener}
        return {**usual, **story.more, "listeners": [lan]}

    async def talked(self, config: dict[str, Any], story: Story) -> tuple[str, list[RefusalRow]]:
        """Return the last reply of a relay with this configuration, and what it has refused."""
        file = self.folder / "relay.yaml"
        text = yaml.safe_dump(config).replace(" SINK", f" {self.sink}")
        if " PEM" in text:
            text = text.replace(" PEM", f" {self.pem}")
        file.write_text(text)
        relay = Relay(load(str(file), {}, ()).config, reactor, events=[Recording()])
        relay.startService()
        await relay.started
        port = relay.addresses["lan"].port
        open_ = [await Conversation.open(port) for _ in range(story.before)]
        try:
            talk = await HostnameEndpoint(reactor, "127.0.0.1", port).connect(
                Factory.forProtocol(Conversation)
            )
            talk.write(story.header)
            last = await answer(talk)
            await deferLater(reactor, story.silence)
            for line in story.said if last.startswith("220") else ():
                talk.write(line.encode().replace(b"\r\n", story.line_end) + story.line_end)
                last = await answer(talk)
                if last[0] not in "23":
                    break
                tls = Certified(self.pem) if story.certified else story.tls
                if line == "STARTTLS" and tls is not None:
                    talk.transport.startTLS(tls)
            await talk.close()
            refused = list(await relay.sources().refusals.refused(RefusalFilter()))
        finally:
            for each in open_:
                await each.close()
            await relay.stopService()
        return last, refused

    async def tell(self, story: Story) -> None:
        sink = SmtpSink()
        sink.always("RCPT", "550 5.1.1 no such user")
        port = await sink.listen(reactor)
        self.sink = port.getHost().port
        try:
            config = self.config(story)
            refusal, rows = await self.talked(config, story)
            self.assertIn(refusal[0], "45", story)
            row = next(each for each in rows if each.rule != "shutdown")
            self.assertEqual(row.rule, story.rule)
            found = remedy(row)
            self.assertTrue(found.setting, story)
            for change in found.setting.split("; "):
                key, action, value = re.fullmatch(r"(\S+): (add|set|more than) (.+)", change).groups()
                self.apply(config, key, action, self.value(value))
            reply, rows = await self.talked(config, story)
            self.assertIn(reply[0], "2", (found.setting, reply))
            self.assertEqual([each.rule for each in rows if each.rule != "shutdown"], [])
        finally:
            sink.hang_up()
            await port.stopListening()

    def apply(self, config: dict[str, Any], key: str, action: str, value: Any) -> None:
        """Do to a configuration what a person would read in a change."""
        place: Any = config
        *path, last = re.findall(r"[^.\[\]]+|\[[^\]]*\]", key)
        for step in path:
            if step.startswith("["):
                found = next((each for each in place if each["name"] == step[1:-1]), None)
                if found is None:
                    found = {"name": step[1:-1]}
                    place.append(found)
                place = found
            else:
                place = place.setdefault(step, [] if step == "users" else {})
        if action == "add":
            place.setdefault(last, []).append(value)
        elif action == "more than" and last == "command_time":
            place[last] = "1h"
        elif action == "more than":
            self.assertEqual(place[last], value)
            place[last] = value + 10
        else:
            place[last] = value

    def value(self, text: str) -> Any:
        text = text.replace("the output of `smtprelay hash-password`", json.dumps(HASH))
        return yaml.safe_load(text.replace("PEM_FILE", "PEM").replace("PROVIDER", "out"))

    def test_every_rule_with_a_setting(self) -> None:
        """Each has a story."""
        with_setting = {rule for rule, (setting, _) in REMEDIES.items() if setting}
        self.assertEqual({story.rule for story in STORIES}, with_setting)


def made(story: Story) -> Callable[[RemedyTests], Awaitable[None]]:
    """Return the test of a story."""

    async def test(self: RemedyTests) -> None:
        """What is named for the refusal, applied to the configuration, lets in just what was refused."""
        await self.tell(deepcopy(story))

    return test


for number, each in enumerate(STORIES, start=1):
    setattr(RemedyTests, f"test_{number:02}_{each.rule.replace('-', '_')}", made(each))
