"""``smtprelay config check --online`` before fakes of the services and a DNS server, on loopback."""

import json
from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from smtprelay.testing.certificates import make_certificate
from smtprelay.testing.mailgun import FakeMailgun
from smtprelay.testing.resend import FakeResend
from smtprelay.testing.ses import FakeSes
from smtprelay.testing.smtp import SILENCE, SmtpSink
from tests.mime.dkim.keys import ED25519, RECORDS
from tests.process.acs_server import AcsServer
from tests.process.dns_server import Zone, serve
from tests.process.program import Program
from tests.providers.http_wiring import Server
from tests.proxy import ConnectProxy
from tests.service.ses_relay import Silence

CONFIG = """\
listeners: [{{name: lan, endpoint: "tcp:2525:interface=127.0.0.1", allow_senders: ["*@example.com"]}}]
spool: {{path: spool}}
dkim: [{{domain: example.com, selector: s1, key: {{file: key.pem}}, required: false}}]
routes: [{{via: [{names}]}}]
providers:
{providers}
"""
AWS = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
RECORDS_OF = {
    "example.com": [[b"v=spf1 mx -all"]],
    "_dmarc.example.com": [[b"v=DMARC1; p=reject"]],
    "s1._domainkey.example.com": [[RECORDS["ed25519"].encode()]],
}
DOMAIN = "example.com"
SENDER = f"postmaster@{DOMAIN}"
VERIFIED = {
    "VerifiedForSendingStatus": True,
    "DkimAttributes": {"SigningEnabled": True, "Status": "SUCCESS"},
}


class Deaf(DatagramProtocol):
    """A DNS server that answers nothing."""


class OnlineCheckTests(TestCase):
    def setUp(self) -> None:
        self.zone = Zone(dict(RECORDS_OF))
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        (self.folder / "u.password").write_text("p")
        (self.folder / "key.pem").write_text(ED25519)
        self.ses = FakeSes(reactor, {"AKID": "secret"})
        self.ses.identities = {"example.com": VERIFIED}
        self.gun = FakeMailgun(reactor, "key-1", ["mg.example.com"])
        self.resend = FakeResend(reactor, ["re_1"], ["example.com"])
        self.sink = SmtpSink(users={"u": "p"}, required=True)

    def port(self, factory: Factory) -> int:
        """Listen until the test ends."""
        listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(listening.stopListening)
        return listening.getHost().port

    def site(self, resource: Resource) -> str:
        """Serve HTTP until the test ends."""
        server = Server(Site(resource))
        self.addCleanup(server.close)
        return f"http://127.0.0.1:{self.port(server)}"

    def smtp(self, sink: SmtpSink, more: str = "") -> str:
        """Return the settings of a smarthost."""
        self.addCleanup(sink.hang_up)
        login = ", username: u, password: {file: u.password}" if sink.users else ""
        return f"{{type: smarthost, host: 127.0.0.1, port: {self.port(sink)}, tls: none{login}{more}}}"

    async def checked(self, providers: dict[str, str], *options: str) -> Program:
        """Run the command."""
        text = "".join(f"  {name}: {settings}\n" for name, settings in providers.items())
        names = ", ".join(providers)
        (self.folder / "smtprelay.yaml").write_text(CONFIG.format(providers=text, names=names))
        server = f"127.0.0.1:{await serve(self, self.zone)}"
        arguments = ["config", "check", "--online", "--nameserver", server, *options]
        program = Program.forked(["-m", "smtprelay", *arguments], self.folder, **AWS)
        self.addCleanup(program.insist)
        await program.ends()
        self.assertNotIn(b"Traceback", program.out + program.err)
        return program

    def services(self) -> dict[str, str]:
        """Return the settings of one provider of each type."""
        key = "api_key: {file: %s}"
        acs = AcsServer()
        self.addCleanup(lambda: Deferred.fromCoroutine(acs.stop()))
        secrets = {"gun.key": "key-1", "re.key": "re_1", "acs.key": acs.connection_string()}
        for name, secret in secrets.items():
            (self.folder / name).write_text(secret)
        return {
            "ses": f"{{type: ses, endpoint: '{self.site(self.ses)}'}}",
            "gun": f"{{type: mailgun, domain: mg.example.com, endpoint: '{self.site(self.gun)}', "
            f"{key % 'gun.key'}}}",
            "re": f"{{type: resend, endpoint: '{self.site(self.resend)}', {key % 're.key'}}}",
            "host": self.smtp(self.sink),
            "acs": f"{{type: acs, connection_string: {{file: acs.key}}, sender: x@{DOMAIN}}}",
            "local": "{type: capture, path: captured}",
        }

    def said(self, program: Program) -> Sequence[str]:
        """Return the lines about what was asked."""
        lines = program.out.decode().splitlines()
        start = [number for number, line in enumerate(lines) if line.startswith("configuration ok")]
        self.assertTrue(start, program.out + program.err)
        return lines[start[0] + 1 :]

    async def test_all_well(self) -> None:
        """Each question has a line; no mail is sent; exit 0."""
        program = await self.checked(self.services())
        said = "\n".join(self.said(program))
        self.assertEqual(program.status, 0, program.out + program.err)
        for line in (
            "providers.ses: probe: it works",
            "providers.ses: quota: 14 recipients a second, 0 of 50000 in 24 hours are used",
            "providers.ses: identities: example.com is verified, signed by example.com",
            "providers.ses: clock: that of this machine agrees with the service's",
            "providers.gun: domain: mg.example.com is active, and Mailgun signs by it",
            "providers.re: domains: example.com is verified, and Resend signs by it",
            "providers.host: probe: it works",
            "providers.host: senders: <postmaster@example.com>: 250 2.1.0",
            "providers.acs: probe: it works",
            "providers.acs: clock: that of this machine agrees with the service's",
            "providers.acs: alignment of example.com: warning: mail is authenticated by nobody we know of",
            "providers.local: probe: it works",
            "example.com: SPF: v=spf1 mx -all",
            "example.com: DMARC: policy reject, by the record of example.com",
            "dkim[0]: s1._domainkey.example.com: the record has this key",
            "providers.gun: alignment of example.com: mail is authenticated by example.com",
            "providers.host: alignment of example.com: mail is authenticated by example.com",
        ):
            self.assertIn(line, said)
        taken = [*self.ses.mails, *self.gun.mails, *self.resend.mails, *self.sink.messages]
        self.assertEqual(taken, [])
        self.assertEqual(self.sink.lines[-2:], ["RSET", "QUIT"])

    async def test_refused(self) -> None:
        """What keeps mail from leaving is an error, in words, as JSON, and by the exit status."""
        services = self.services()
        self.ses.identities.clear()
        self.ses.account.enabled = False
        self.gun.domains.clear()
        self.gun.records["mg.example.com"] = ()
        self.resend.domains.clear()
        self.resend.pending.add("example.com")
        self.sink.script("MAIL", "550 5.7.1 not your address")
        self.zone.records = {"example.com": [[b"v=spf1 -all"], [b"v=spf1 mx"]]}
        program = await self.checked(services, "-o", "json")
        found = json.loads(program.out)["data"]
        self.assertEqual((program.status, found["ok"]), (78, False), program.err)
        errors = {
            f"{each['about']}: {each['check']}: {each['text']}"
            for each in found["online"]
            if each["severity"] == "error"
        }
        for text in (
            "providers.ses: quota: the account may not send: see its status in the SES console",
            f"providers.ses: identities: SES has no identity for <{SENDER}>: verify {DOMAIN} in this region",
            "providers.gun: domain: mg.example.com is unverified: see it in Mailgun's control panel",
            "providers.re: domains: example.com is pending, not verified",
            "example.com: SPF: there are 2 records: receivers take none of them, leave one",
        ):
            self.assertIn(text, errors)
        self.assertTrue(any("refused the sender <postmaster@example.com>" in each for each in errors), errors)
        self.assertTrue(any("there is no record: publish the text v=DKIM1" in each for each in errors))

    async def test_wrong_credentials(self) -> None:
        """A key that is refused is an error, whoever refuses it."""
        services = self.services()
        self.ses.keys, self.gun.key, self.resend.keys, self.sink.users = {}, "x", set(), {"u": "other"}
        program = await self.checked(services)
        self.assertEqual(program.status, 78, program.err)
        for name in ("ses", "gun", "re", "host"):
            self.assertIn(f"providers.{name}: probe: error: ", program.out.decode())

    async def test_behind_a_proxy(self) -> None:
        """Questions go the way that mail goes: through the proxy, with the authorities of the provider."""
        made = make_certificate(self.folder.absolute() / "tls", "api.resend.com")
        server = Server(Site(self.resend))
        context = DefaultOpenSSLContextFactory(str(made.key), str(made.certificate))
        listening = reactor.listenSSL(0, server, context, interface="127.0.0.1")
        self.addCleanup(server.close)
        self.addCleanup(listening.stopListening)
        proxy = ConnectProxy(self)
        proxy.tunnels[443] = listening.getHost().port
        (self.folder / "re.key").write_text("re_1")
        key = "api_key: {file: re.key, expires: 2020-01-31}"
        way = f"ca: {made.ca}, proxy: 'http://127.0.0.1:{proxy.port}'"
        program = await self.checked({"re": f"{{type: resend, {key}, {way}}}"})
        said = self.said(program)
        self.assertIn("providers.re: domains: example.com is verified, and Resend signs by it", said)
        self.assertIn("providers.re.api_key: expiry: error: expired on 2020-01-31", said)
        self.assertTrue(proxy.asked)
        self.assertEqual(program.status, 78)

    async def test_silence(self) -> None:
        """Wherever an answer does not come, that is said, and the others are there: exit 75."""
        late = self.site(Silence())
        (self.folder / "k").write_text("re_1")
        key = "api_key: {file: k}"
        services = {
            "ses": f"{{type: ses, endpoint: '{late}'}}",
            "gun": f"{{type: mailgun, domain: mg.example.com, endpoint: '{late}', {key}}}",
            "re": f"{{type: resend, endpoint: '{late}', {key}}}",
            "fine": f"{{type: resend, endpoint: '{self.site(self.resend)}', {key}}}",
        }
        certificate = make_certificate(self.folder.absolute() / "tls", "127.0.0.1")
        silent = SmtpSink()
        silent.always("CONNECT", SILENCE)
        services["tls"] = self.smtp(silent).replace("tls: none", "tls: implicit")
        for verb in ("CONNECT", "EHLO", "STARTTLS", "AUTH", "MAIL", "RSET"):
            sink = SmtpSink(users={"u": "p"}, certificate=certificate)
            sink.always(verb, SILENCE)
            more = f", ca: {certificate.ca}"
            settings = self.smtp(sink, more)
            services[verb.lower()] = settings.replace("tls: none", "tls: starttls")
        program = await self.checked(services, "--timeout", "1")
        said = self.said(program)
        self.assertEqual(program.status, 75, said)
        for name in services:
            silent = [
                line
                for line in said
                if line.startswith(f"providers.{name}: ") and "no answer within 1 s" in line
            ]
            self.assertEqual(bool(silent), name != "fine", (name, said))
        self.assertIn("providers.fine: domains: example.com is verified, and Resend signs by it", said)

    async def test_silent_dns(self) -> None:
        """A DNS server that says nothing, or that it failed, leaves the records unknown."""
        server = reactor.listenUDP(0, Deaf(), interface="127.0.0.1")
        self.addCleanup(server.stopListening)
        program = await self.checked(
            {"re": self.services()["re"]},
            *("--timeout", "1", "--nameserver", f"127.0.0.1:{server.getHost().port}"),
        )
        self.assertEqual(program.status, 75, program.out)
        self.assertIn("example.com: SPF: unknown: no answer within 1 s", program.out.decode())
        self.assertIn("example.com: DMARC: unknown: no answer within 1 s", program.out.decode())
