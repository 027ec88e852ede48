"""
For every rule that a setting can change: a relay refuses, what its ledger names is applied, it accepts.
"""

import ast
import re
from base64 import b64encode
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from attrs import evolve, field, frozen
from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smtprelay import remedies
from smtprelay.config import load
from smtprelay.message import Reply
from smtprelay.model.refusal import RefusalFilter, RefusalRow
from smtprelay.policy.passwords import hash_password
from smtprelay.refused_mail import Ledger
from smtprelay.remedies import SettingChange, remedy
from smtprelay.service import Relay
from smtprelay.smtp import reply
from smtprelay.smtp.foreign import failed_handshake
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SmtpSink
from tests.process.conversation import Conversation
from tests.recording import Recording

MAIL, RCPT = "MAIL FROM:<app@here.test>", "RCPT TO:<user@there.test>"
CONTENT = ("DATA", "Subject: x\r\n\r\nhello\r\n.")
TRANSACTION = ("EHLO c", MAIL, RCPT, *CONTENT)
ELSEWHERE = ["10.0.0.0/8"]
HASH = hash_password(b"secret", bytes(16))


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def plain(name: str) -> str:
    return "AUTH PLAIN " + b64(f"\0{name}\0secret")


JOE = {"name": "joe", "password_hash": HASH}
HOST = {"type": "smarthost", "host": "127.0.0.1", "port": 9, "tls": "none"}
OPEN_LOGIN = {"allow_plaintext": True}


@frozen(kw_only=True)
class Story:
    """
    :ivar listener: the settings of the listener that refuses, ``users`` and so on beside it.
    :ivar said: what the client says, line by line, before and after.
    :ivar line_end: of the client's lines.
    :ivar silence: seconds before the client says the first of it.
    :ivar before: so many sessions that are open then, of which each says ``said`` too if it is ``full``.
    """

    rule: str
    listener: dict[str, Any] = field(factory=dict)
    more: dict[str, Any] = field(factory=dict)
    said: Sequence[str] = TRANSACTION
    silence: float = 0.0
    before: int = 0
    line_end: bytes = b"\r\n"


STORIES = (
    Story(rule="network", listener={"allow_from": ELSEWHERE}),
    Story(
        rule="auth-required",
        listener={"allow_from": ELSEWHERE, "auth": OPEN_LOGIN},
        more={"users": [JOE]},
    ),
    Story(rule="auth-always", listener={"auth": {"required": True, **OPEN_LOGIN}}, more={"users": [JOE]}),
    Story(rule="tls", listener={"tls": {"mode": "starttls", "certificate": "PEM", "require": "always"}}),
    Story(
        rule="tls-for-login",
        listener={"tls": {"mode": "starttls", "certificate": "PEM"}},
        more={"users": [JOE]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(
        rule="auth",
        listener={"auth": OPEN_LOGIN},
        more={"users": [{"name": "joe", "password_hash": hash_password(b"other", bytes(16))}]},
        said=("EHLO c", plain("joe"), MAIL, RCPT, *CONTENT),
    ),
    Story(
        rule="auth",
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
    Story(rule="not-offered", said=("EHLO c", plain("NAME"), MAIL, RCPT, *CONTENT)),
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
        rule="line-ends",
        listener={"bare_newlines": "refuse"},
        said=("EHLO c", MAIL, RCPT, "DATA", "Subject: x\n\r\n\r\nhello\r\n."),
    ),
    Story(rule="command-line-ends", line_end=b"\n"),
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


class RemedyTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        certificate = make_certificate(self.folder)
        self.pem = self.folder / "both.pem"
        self.pem.write_bytes(certificate.certificate.read_bytes() + certificate.key.read_bytes())
        self.pem.chmod(0o600)

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
        text = yaml.safe_dump(config).replace(" PEM", f" {self.pem}").replace(" SINK", f" {self.sink}")
        file.write_text(text)
        ledger = Ledger(reactor.seconds)
        relay = Relay(load(str(file), {}, ()).config, reactor, events=[Recording(), ledger])
        relay.startService()
        await relay.started
        port = relay.addresses["lan"].port
        open_ = [await Conversation.open(port) for _ in range(story.before)]
        try:
            talk = await HostnameEndpoint(reactor, "127.0.0.1", port).connect(
                Factory.forProtocol(Conversation)
            )
            last = await talk.reply()
            await deferLater(reactor, story.silence)
            for line in story.said if last.startswith("220") else ():
                talk.write(line.encode().replace(b"\r\n", story.line_end) + story.line_end)
                last = await talk.reply()
                if last[0] not in "23":
                    break
            await talk.close()
            refused = list(await ledger.refused(RefusalFilter()))
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
            self.assertTrue(found.changes, story)
            for change in found.changes:
                self.apply(config, change)
            reply, rows = await self.talked(config, story)
            self.assertIn(reply[0], "2", (found.setting, reply))
            self.assertEqual([each.rule for each in rows if each.rule != "shutdown"], [])
        finally:
            sink.hang_up()
            await port.stopListening()

    def apply(self, config: dict[str, Any], change: SettingChange) -> None:
        """Do to a configuration what a person would read in the change."""
        place: Any = config
        *path, last = re.findall(r"[^.\[\]]+|\[[^\]]*\]", change.key)
        for step in path:
            if step.startswith("["):
                found = next((each for each in place if each["name"] == step[1:-1]), None)
                if found is None:
                    found = {"name": step[1:-1]}
                    place.append(found)
                place = found
            else:
                place = place.setdefault(step, [] if step == "users" else {})
        value = self.value(change)
        if change.action == "add":
            place.setdefault(last, []).append(value)
        elif change.action == "raise":
            now = place.get(last, "")
            place[last] = now * 1000 if isinstance(now, int) else "1h" if now.endswith("s") else "20GiB"
        else:
            place[last] = value

    def value(self, change: SettingChange) -> Any:
        if change.value.startswith("the output of"):
            return HASH
        if change.value.startswith("a PEM file"):
            return "PEM"
        return yaml.safe_load(change.value.replace("PROVIDER", "out")) if change.value != "*" else "*"

    async def test_every_rule_with_a_setting(self) -> None:
        """What is named for the refusal, applied to the configuration, lets in just what was refused."""
        for story in STORIES:
            await self.tell(deepcopy(story))
        # A handshake with old TLS is tried with openssl, in tests.interop.test_clients.
        self.assertEqual({story.rule for story in STORIES}, remedies._CHANGES.keys() - {"tls-handshake"})


ROW = RefusalRow(
    listener="lan", client="10.0.3.7", user="", rule="network", reply="550 5.7.1", domain="", count=1,
    first=1.0, last=2.0, command="MAIL FROM:<a@b>", text="no",
)  # fmt: skip


class TableTests(SynchronousTestCase):
    def test_every_rule_is_known(self) -> None:
        """Whatever rule a reply of the product has, its row says what can be done."""
        used = {each.rule for each in vars(reply).values() if isinstance(each, Reply) and each.code >= 400}
        root = Path(reply.__file__).parents[1]
        for path in root.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
                    rule = {word.arg: word.value for word in node.keywords}.get("rule")
                    given = [*([rule] if rule else []), *node.args[MAKERS[node.func.id] :]]
                    used |= {
                        leaf.value
                        for each in given
                        for leaf in ast.walk(each)
                        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) and leaf.value
                    }
        self.assertGreater(len(used), 40)
        self.assertEqual(used - remedies.rules(), set())

    def test_settings_of_a_row(self) -> None:
        """They name the listener or the user, and the value for this client."""
        for changes, setting in (
            ({}, "listeners[lan].allow_from: add 10.0.3.7/32"),
            ({"client": "2001:db8::/64"}, "listeners[lan].allow_from: add 2001:db8::/64"),
            ({"client": "unix"}, ""),
            (
                {"rule": "user-sender", "user": "joe", "text": "joe may not send as <a@b.test>"},
                "users[joe].senders: add a@b.test",
            ),
            ({"rule": "provider-size", "text": "acs takes requests of 9 bytes, this one needs 10"}, ""),
            ({"rule": reply.too_large(9, reply.ROUTES).rule}, ""),
            (
                {"rule": "provider-size", "text": reply.too_large(10_000, "acs20000", 15_000).text},
                "providers.acs20000.limits.size: set 20000",
            ),
            (
                {
                    "rule": "provider-size",
                    "text": "The message of 70 bytes is too large for route r9: a2 takes 60 bytes",
                },
                "providers.a2.limits.size: set 120",
            ),
            (
                {"rule": "size", "text": reply.too_large(1000, size=3000).text},
                "listeners[lan].limits.size: set 3000",
            ),
            ({"rule": "recipient", "command": "RCPT TO:<*@gmail.com>"}, ""),
            ({"rule": "sender", "command": "MAIL FROM:<scanner>"}, ""),
            ({"rule": "route", "text": "No route leads to <*@gmail.com>"}, ""),
            (
                {"rule": "recipient", "command": "RCPT TO:<a, '?': x@b.test>"},
                """listeners[lan].allow_recipients: add "a, '?': x@b.test\"""",
            ),
            (
                {"rule": "auth", "user": "x].a: set 1; users[y"},
                'users["x].a: set 1; users[y"].password_hash: set the output of `smtprelay hash-password`',
            ),
            (
                {"rule": "route", "text": 'No route leads to <"a b"@c.test>'},
                'routes: add {match: {recipient: ["\\"a b\\"@c.test"]}, via: [PROVIDER]}',
            ),
            ({"rule": "mechanism", "command": "AUTH CRAM-MD5"}, ""),
            ({"rule": "syntax"}, ""),
            ({"rule": "tls-handshake", "text": "TLS failed: the client does not trust our certificate"}, ""),
            (
                {"rule": "tls-handshake", "text": failed_handshake("unsupported protocol", "modern")},
                "listeners[lan].tls.profile: set legacy",
            ),
        ):
            found = remedy(evolve(ROW, **changes))
            self.assertEqual(found.setting, setting)
            self.assertTrue(found.setting or found.advice, changes)

    def test_a_rule_of_somebody_else(self) -> None:
        """It has an advice, too."""
        self.assertTrue(remedy(evolve(ROW, rule="xyzzy")).advice)


#: What makes replies, and where its rule is among its arguments.
MAKERS = {"Reply": 3, "_reply": 3, "_refused": 3, "_temporary": 3}
