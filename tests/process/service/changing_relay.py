"""
A relay whose configuration changes again and again while many clients send.

A reply, a certificate or a way to a provider is right if it follows from a configuration that was in force,
or was being put into force, at some moment between the beginning and the end of what it belongs to.
"""

import random
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field, frozen
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError, ConnectionLost
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from smtprelay.cli.client import ApiClient
from smtprelay.policy.password_hash import hash_password
from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.smtp import SmtpSink
from tests.process.conversation import Conversation
from tests.process.program import eventually
from tests.process.relay_process import RelayProcess, message
from tests.process.spool_tables import SpoolTables, name_of
from tests.process.stage import Stage

CONFIG: Final = """\
hostname: relay.test
listeners:
  - name: lan
    endpoint: "tcp:0:interface=127.0.0.1"
    tls:
      certificate: {folder}/{rules.certificate}/certificate.pem
      key: {folder}/{rules.certificate}/key.pem
    limits: {{connections_per_client: 1000}}
users: [{{name: ann, password_hash: "{hash}"}}]
providers:
  one: {{type: smarthost, host: 127.0.0.1, port: {one}, tls: none, username: {rules.login},
    password: {rules.login}, rate: [{rules.rate}/min]}}
  two: {{type: smarthost, host: 127.0.0.1, port: {two}, tls: none, username: {rules.login},
    password: {rules.login}, rate: [{rules.rate}/min]}}
routes: [{{name: all, via: [{rules.provider}]}}]
http: [{{endpoint: "tcp:port=0:interface=127.0.0.1", serve: [health, metrics]}}]
spool: {{path: spool}}
"""


@frozen(kw_only=True)
class Rules:
    """What changes."""

    provider: str = "one"
    login: str = "first"
    password: str = "first"
    certificate: str = "first"
    rate: int = 30_000


#: Both values of each.
CHOICES: Final = {
    "provider": ("one", "two"),
    "login": ("first", "second"),
    "password": ("first", "second"),
    "certificate": ("first", "second"),
    "rate": (30_000, 60_000),
}


@define
class Counts:
    """
    What was seen.

    :ivar sessions: that were begun; ``dropped``: that the relay ended.
    :ivar transactions: the most in one session.
    :ivar wrong: what follows from no configuration of its time.
    """

    reloads: int = 0
    sessions: int = 0
    dropped: int = 0
    transactions: int = 0
    encrypted: int = 0
    refused_logins: int = 0
    accepted: int = 0
    delivered: int = 0
    lost: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.reloads} reloads; {self.sessions} sessions, {self.encrypted} of them with TLS and AUTH,"
            f" dropped {self.dropped}, at most {self.transactions} mails in one; logins refused by the other"
            f" rules {self.refused_logins}; accepted {self.accepted}, delivered {self.delivered},"
            f" lost {len(self.lost)}, twice {len(self.twice)}, wrong {self.wrong[:5]}"
        )


class ChangingRelay:
    """A relay, its clients and its providers."""

    def __init__(self, folder: Path, dice: random.Random) -> None:
        self.folder = folder
        self.dice = dice
        self.counts = Counts()
        self.rules = Rules()
        self.over = False
        names = ("first", "second")
        self.hashes = {name: hash_password(name.encode(), b"salt" * 4, ln=10) for name in names}
        made = {name: make_certificate(folder / name) for name in names}
        self.certificates = {
            Certificate.loadPEM(each.certificate.read_bytes()).digest(): name for name, each in made.items()
        }
        authorities = [Certificate.loadPEM(each.ca.read_bytes()) for each in made.values()]
        self.trusted = trustRootFromCertificates(authorities)
        self.sinks = {
            name: SmtpSink(users={each: each for each in names}, required=True) for name in ("one", "two")
        }
        self.ports: dict[str, Any] = {}
        #: Each configuration, when it began to be put into force, and when the next one was in force.
        self.times: list[tuple[Rules, float, float]] = [(self.rules, 0.0, float("inf"))]
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}

    async def start(self) -> None:
        """Start the relay and its providers."""
        for name, sink in self.sinks.items():
            self.ports[name] = await sink.listen(reactor)
        self.relay = RelayProcess(self.folder, self.text(self.rules))
        await self.relay.start()
        self.api = ApiClient(str(self.folder / "spool" / "control.sock"))

    async def close(self) -> None:
        """End all."""
        await self.relay.kill()
        for name, port in self.ports.items():
            self.sinks[name].hang_up()
            await port.stopListening()

    def text(self, rules: Rules) -> str:
        """Return the configuration."""
        ports = {name: port.getHost().port for name, port in self.ports.items()}
        return CONFIG.format(rules=rules, folder=self.folder, hash=self.hashes[rules.password], **ports)

    async def change(self, what: str) -> None:
        """Give one setting its other value, and put that into force."""
        values = CHOICES[what]
        rules = evolve(self.rules, **{what: values[values[0] == getattr(self.rules, what)]})
        self.relay.config.write_text(self.text(rules))
        before, began, _ = self.times[-1]
        self.times.append((rules, reactor.seconds(), float("inf")))
        told = await self.reload()
        if not told["changes"]:
            self.counts.wrong.append(f"{what} has not changed")
        self.times[-2] = (before, began, reactor.seconds())
        self.rules = rules
        self.counts.reloads += 1

    async def reload(self) -> Any:
        """Have the relay read its file; raises what it answers."""
        return await deferToThread(self.api.post, "/api/v1/reload", {"who": "test"})

    def possible(self, what: str, began: float, ended: float) -> set[Any]:
        """Return the values of a setting that may have been in force between two moments."""
        return {getattr(rules, what) for rules, start, end in self.times if start <= ended and began <= end}

    def memory(self) -> int:
        """Return how much of the memory the relay has, KiB."""
        status = Path(f"/proc/{self.relay.life.transport.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    # --- clients

    def send(self, clients: int) -> "Deferred[Any]":
        """Have so many clients send until :attr:`over` is set; fires when they have ended."""
        return gatherResults([Deferred.fromCoroutine(self._client(n)) for n in range(clients)])

    async def _client(self, number: int) -> None:
        """Send; every second client in one session for all its mail, and two of five with TLS and AUTH."""
        holds, encrypts = number % 2 == 0, number % 5 < 2
        numbers = iter(range(1_000_000))
        while not self.over:
            try:
                await self._session(number, numbers, holds=holds, encrypts=encrypts)
            except (ConnectError, ConnectionLost) as error:
                self.counts.dropped += 1
                self.counts.wrong.append(f"dropped: {error}")
                await deferLater(reactor, 0.1)

    async def _session(self, client: int, numbers: Iterator[int], *, holds: bool, encrypts: bool) -> None:
        began = reactor.seconds()
        talk = await self.relay.greet()
        self.counts.sessions += 1
        if encrypts and not await self._encrypted(talk, began):
            await talk.close()
            return
        sent = 0
        while not self.over and (holds or sent < 2):
            await self._mail(talk, f"{client}.{next(numbers)}")
            sent += 1
            await deferLater(reactor, self.dice.uniform(0.05, 0.2))
        self.counts.transactions = max(self.counts.transactions, sent)
        await talk.say("QUIT")
        await talk.close()

    async def _encrypted(self, talk: Conversation, began: float) -> bool:
        """Begin TLS and log in; ``False`` if the other password is right by now."""
        await talk.say("STARTTLS")
        talk.transport.startTLS(optionsForClientTLS("localhost", trustRoot=self.trusted))
        password = self.rules.password
        plain = b64encode(f"\0ann\0{password}".encode()).decode()
        await talk.say("EHLO client.test")
        shown = self.certificates[Certificate(talk.transport.getPeerCertificate()).digest()]
        reply = await talk.say(f"AUTH PLAIN {plain}")
        now = reactor.seconds()
        if shown not in self.possible("certificate", began, now):
            self.counts.wrong.append(f"the {shown} certificate")
        good = {each == password for each in self.possible("password", began, now)}
        if reply[:3] not in {"235" if each else "535" for each in good}:
            self.counts.wrong.append(f"AUTH: {reply}")
        self.counts.refused_logins += reply[:3] == "535"
        self.counts.encrypted += 1
        return reply[:3] == "235"

    async def _mail(self, talk: Conversation, name: str) -> None:
        self.begun[name] = reactor.seconds()
        reply = await talk.mail(message("changes", number=name), "user@example.com")
        self.ended[name] = reactor.seconds()
        if not reply.startswith("250 2.0.0 Ok: queued as "):
            self.counts.wrong.append(f"mail: {reply}")

    # --- the end

    async def count(self) -> Counts:
        """Return what was seen, when nothing waits any more; the clients have ended."""
        tables, counts = SpoolTables.of_folder(self.folder / "spool"), self.counts
        await eventually(lambda: not tables.waiting(), "an empty queue", patience=120.0)
        arrived: Counter[str] = Counter()
        for provider, sink in self.sinks.items():
            for each in sink.messages:
                name = name_of(str(message_from_bytes(each.body)["Message-ID"]))
                arrived[name] += 1
                if provider not in self.possible("provider", self.begun[name], self.ended[name]):
                    counts.wrong.append(f"{name} went to {provider}")
        counts.accepted, counts.delivered = len(self.ended), len(arrived)
        counts.lost = sorted(self.ended.keys() - arrived.keys())
        counts.twice = sorted(name for name, times in arrived.items() if times > 1)
        return counts


class ChangingStage(Stage):
    """Gives each test such a relay."""

    async def changing(self, seed: int) -> ChangingRelay:
        """Return one that runs."""
        changing = ChangingRelay(self.folder, random.Random(seed))
        self.addCleanup(lambda: Deferred.fromCoroutine(changing.close()))
        await changing.start()
        return changing

    def assert_kept(self, counts: Counts) -> None:
        """See that no session was dropped, no mail lost or sent twice, and no rule mixed up."""
        kept = (counts.dropped, counts.lost, counts.twice, counts.wrong)
        self.assertEqual(kept, (0, [], [], []), str(counts))
        self.assertEqual(counts.accepted, counts.delivered, str(counts))
