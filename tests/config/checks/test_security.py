from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.testing.certificates import make_certificate
from tests.config.loading import HASH, codes, problems_of, with_provider

REST = "providers: {local: {type: capture, path: captured}}\nspool: {path: spool}\n"
USERS = f"users: [{{name: u, password_hash: '{HASH}'}}]\n"
TLS = "tls: {certificate: CERTIFICATE, key: KEY}"


def with_certificate(text: str, folder: str) -> str:
    """Return ``text`` with a certificate made in ``folder`` in the place of the words in :data:`TLS`."""
    files = make_certificate(folder)
    return text.replace("CERTIFICATE", str(files.certificate)).replace("KEY", str(files.key))


def listener(settings: str, rest: str = "") -> list[str]:
    """Return the codes of the problems of one listener that others can reach."""
    text = f"listeners: [{{endpoint: 'tcp:2525', {settings}}}]\n" + REST + rest
    with TemporaryDirectory() as folder:
        return codes(problems_of(with_certificate(text, folder) if TLS in text else text))


#: Half of the Internet, no two of them neighbours.
EVERY_OTHER = [f"{n}.0.0.0/9" for n in range(256)]


class OpenRelayTests(SynchronousTestCase):
    def test_wide_networks(self) -> None:
        """Whoever holds more than any organisation is anyone, in parts and in disguise too."""
        for networks in ("64:ff9b::/96", "0.0.0.0/1, 128.0.0.0/1", ", ".join(EVERY_OTHER)):
            quoted = ", ".join(f"'{each}'" for each in networks.split(", "))
            self.assertEqual(listener(f"allow_from: [{quoted}]"), ["CFG-OPEN-RELAY"], networks)

    def test_refused(self) -> None:
        """Anyone to anyone without a login is an error, also if only the sender is restricted."""
        for more in (
            "",
            ", allow_senders: ['*@example.com']",
            ", allow_recipients: ['*']",
            ", allow_recipients: ['*@example.com', '*@*']",
            ", allow_recipients: ['*@*.*']",
            ", allow_recipients: ['*e*@*']",
            ", allow_recipients: ['*@*.com']",
            ", allow_recipients: ['*@*m']",
        ):
            self.assertEqual(listener("allow_from: [0.0.0.0/0]" + more), ["CFG-OPEN-RELAY"])

    def test_accepted(self) -> None:
        """Said on purpose it is a warning."""
        self.assertEqual(listener("allow_from: ['::/0'], open_relay: accepted"), ["CFG-OPEN-RELAY?"])
        self.assertEqual(listener("allow_from: ['::/0'], open_relay: true"), ["CFG-UNKNOWN-VALUE"])

    def test_protected(self) -> None:
        """A required login, or own recipients only, close it."""
        for pattern in ("*@example.com", "*@*.example.com", "*@nas"):
            self.assertEqual(
                listener(f"allow_from: [0.0.0.0/0], allow_recipients: ['{pattern}']"), [], pattern
            )
        self.assertEqual(listener(f"allow_from: [0.0.0.0/0], auth: {{required: true}}, {TLS}", USERS), [])

    def test_a_checker_that_takes_everybody_protects_nothing(self) -> None:
        """With the checker any a required login is none, also when there are users besides."""
        checkers = "checkers: {a: {type: any}}\n"
        for names in ("a", "users, a"):
            auth = f"auth: {{required: true, checkers: [{names}]}}"
            found = listener(f"allow_from: [0.0.0.0/0], {auth}, {TLS}", USERS + checkers)
            self.assertIn("CFG-OPEN-RELAY", found)

    def test_applications_of_every_tenant(self) -> None:
        """Anybody can have a tenant of Entra: ids are named, or recipients, or it is said on purpose."""
        tenants = "tenants: [99999999-8888-7777-6666-555555555555]"
        auth = f"auth: {{checkers: [m]}}, {TLS}"
        for settings, more, codes_ in (
            ("type: entra", "", ["CFG-OPEN-RELAY"]),
            ("type: entra", ", open_relay: accepted", ["CFG-OPEN-RELAY?"]),
            ("type: entra", ", allow_recipients: ['*@example.com']", []),
            (f"type: entra, {tenants}", "", []),
            (f"type: entra, {tenants}, authority: 'http://example.com'", "", ["CFG-CLEAR-TEXT"]),
            ("type: azure_table, url: 'https://a.table.core.windows.net/l'", "", []),
            ("type: azure_table, url: 'http://a.test/l'", "", ["CFG-CLEAR-TEXT"]),
            ("type: azure_table, url: 'https://a.table.core.windows.net'", "", ["CFG-VALUE"]),
            ("type: azure_table, url: 'https://a.table.core.windows.net/l?sv=1&sig=abc'", "", ["CFG-VALUE"]),
            ("type: azure_table, url: 'https://a.test/l', credential: application", "", ["CFG-MISSING"]),
            ("type: entra, tenants: [contoso.com]", ", allow_recipients: ['*@nas']", ["CFG-VALUE"]),
        ):
            found = listener(auth + more, f"checkers: {{m: {{{settings}}}}}\n")
            self.assertEqual(found, codes_, settings + more)

    def test_required_rows(self) -> None:
        """Where every application needs a row, no checker may take one without."""
        entra = "m: {type: entra, tenants: [99999999-8888-7777-6666-555555555555]}"
        for names, required, codes_ in (
            ("t, m", "", []),
            ("t, m", ", required: true", ["CFG-AUTH"]),
            ("m, t", ", required: true", ["CFG-AUTH"]),
            ("t", ", required: true", []),
        ):
            table = f"t: {{type: azure_table, url: 'https://a.table.core.windows.net/l'{required}}}"
            checkers = f"checkers: {{{entra}, {table}}}\n"
            self.assertEqual(listener(f"auth: {{checkers: [{names}]}}, {TLS}", checkers), codes_)

    def test_a_checker_that_takes_everybody_is_the_last(self) -> None:
        """Before another it would take that one's users, with whatever password; the line is told."""
        text = USERS + "checkers: {a: {type: any}, b: {type: any}}\n"
        for names, codes_ in (
            ("users, a", []),
            ("a", []),
            ("a, users", ["CFG-AUTH"]),
            ("b, a", ["CFG-AUTH"]),
        ):
            auth = f"auth: {{checkers: [{names}], allow_plaintext: true}}"
            found = [code for code in listener(auth, text) if code != "CFG-CLEAR-TEXT?"]
            self.assertEqual(found, codes_, names)


class TlsTests(SynchronousTestCase):
    def test_certificate(self) -> None:
        """A tls section needs a certificate, unless its mode is off."""
        self.assertEqual(listener("tls: {}"), ["CFG-MISSING"])
        self.assertEqual(listener("tls: {mode: implicit}"), ["CFG-MISSING"])
        self.assertEqual(listener("tls: {mode: off}"), [])
        self.assertEqual(listener(TLS), [])

    def test_required_without(self) -> None:
        """TLS cannot be required where there is none."""
        self.assertEqual(listener("tls: {mode: off, require: always}"), ["CFG-TLS"])


class AuthTests(SynchronousTestCase):
    def test_required(self) -> None:
        """A required login needs users, and TLS or the word that it may go without."""
        self.assertEqual(listener("auth: {required: true}"), ["CFG-AUTH"])
        self.assertEqual(listener("auth: {required: true}", USERS), ["CFG-AUTH"])
        plain = "auth: {required: true, allow_plaintext: true}"
        self.assertEqual(listener(plain, USERS), ["CFG-CLEAR-TEXT?"])
        self.assertEqual(listener(f"auth: {{required: true}}, {TLS}", USERS), [])

    def test_plain_passwords(self) -> None:
        """Who allows passwords in clear text from other machines is told so; what cannot happen is not."""
        plain = "auth: {allow_plaintext: true}"
        self.assertEqual(listener(plain, USERS), ["CFG-CLEAR-TEXT?"])
        self.assertEqual(listener(f"{plain}, {TLS}", USERS), ["CFG-CLEAR-TEXT?"])
        always = TLS.replace("{", "{require: always, ")
        self.assertNotIn("CFG-CLEAR-TEXT?", listener(f"{plain}, {always}", USERS))
        self.assertEqual(listener(plain), [])
        any_ = "auth: {allow_plaintext: true, checkers: [a]}"
        self.assertEqual(listener(any_, "checkers: {a: {type: any}}\n"), [])

    def test_logins_without_the_password(self) -> None:
        """By mechanisms that do not send it no password crosses the network."""
        users = "users: [{name: u, password: x}]\n"
        for mechanism, expected in (("CRAM-MD5", False), ("PLAIN", True)):
            found = listener(f"auth: {{allow_plaintext: true, mechanisms: [{mechanism}]}}", users)
            self.assertEqual("CFG-CLEAR-TEXT?" in found, expected)

    def test_not_offered(self) -> None:
        """Users who could never log in are worth a warning."""
        self.assertEqual(listener("name: x", USERS), ["CFG-AUTH?"])

    def test_another_listener_offers_them(self) -> None:
        """A listener that says nothing of logins needs none where another one offers them."""
        other = f"name: x}}, {{endpoint: 'tcp:587', {TLS}"
        self.assertEqual(listener(other, USERS), [])
        self.assertEqual(listener(f"auth: {{checkers: [users]}}, {other}", USERS), ["CFG-AUTH?"])

    def test_users_that_are_wrong(self) -> None:
        """A required login does not lack users who are there, and wrong."""
        self.assertEqual(
            listener(f"auth: {{required: true}}, {TLS}", "users: [{name: u, passwordd: x}]\n"),
            ["CFG-UNKNOWN-KEY"],
        )


class ProxyTests(SynchronousTestCase):
    def test_trust(self) -> None:
        """Who may name the client are proxies alone, and only where one is expected."""
        for settings, expected in (
            ("proxy_trust: [10.0.0.5]", ["CFG-PROXY?"]),
            ("proxy_trust: []", []),
            ("proxy_trust: [10.0.0.5], xclient: true", []),
            ("proxy_trust: [0.0.0.0/0], xclient: true", ["CFG-PROXY"]),
        ):
            self.assertEqual(listener(settings), expected)
        for trust, expected in (("10.0.0.5", []), ("0.0.0.0/0", ["CFG-PROXY"])):
            text = f"listeners: [{{endpoint: 'haproxy:tcp:2525', proxy_trust: ['{trust}']}}]\n" + REST
            self.assertEqual(codes(problems_of(text)), expected)

    def test_tls(self) -> None:
        """The header comes before TLS, so the endpoint cannot speak it."""
        with TemporaryDirectory() as folder:
            end = "listeners: [{endpoint: 'haproxy:ssl:465:privateKey=KEY:certKey=CERTIFICATE'}]\n"
            self.assertIn("CFG-PROXY", codes(problems_of(with_certificate(end, folder) + REST)))

    def test_clients_are_elsewhere(self) -> None:
        """Behind a proxy on this machine are clients of others."""
        for endpoint, expected in (("", []), ("haproxy:", ["CFG-CLEAR-TEXT?"])):
            listeners = f"listeners: [{{endpoint: '{endpoint}tcp:2525:interface=127.0.0.1', "
            text = f"{listeners}auth: {{allow_plaintext: true}}}}]\n{REST}{USERS}"
            self.assertEqual(codes(problems_of(text)), expected)


class SitesTests(SynchronousTestCase):
    def test_tokens(self) -> None:
        """The page and the API need tokens where others can reach them; health and metrics do not."""
        token = f"tokens: [{{name: ops, hash: '{HASH}'}}]"
        cases = {
            "endpoint: 'tcp:1', serve: [api]": ["CFG-NO-TOKENS"],
            "endpoint: 'tcp:1', serve: [health, dashboard, api]": ["CFG-NO-TOKENS"],
            "endpoint: 'tcp:1', serve: [health, metrics]": [],
            "endpoint: 'tcp:1:interface=127.0.0.1', serve: [dashboard, api]": [],
            "endpoint: 'tcp:1', serve: [api], " + token: [],
        }
        for site, expected in cases.items():
            self.assertEqual(listener("name: x", f"http: [{{{site}}}]\n"), expected, site)


class ClearTextTests(SynchronousTestCase):
    def test_http(self) -> None:
        """http:// is for this machine only, in a connection string too."""
        acs = "type: acs, sender: a@b, "
        cases = {
            "endpoint: 'http://example.com', access_keys: [{env: K}]": ["CFG-CLEAR-TEXT"],
            "endpoint: 'http://127.0.0.1:1', access_keys: [{env: K}]": [],
            "connection_string: {env: REMOTE}": ["CFG-CLEAR-TEXT"],
            "connection_string: {env: LOCAL}": [],
            "connection_string: {env: K}": ["CFG-SECRET"],
        }
        environ = {
            "K": "a2V5",
            "REMOTE": "endpoint=http://example.com/;accesskey=a2V5",
            "LOCAL": "endpoint=http://127.0.0.1:1/;accesskey=a2V5",
        }
        for settings, expected in cases.items():
            self.assertEqual(codes(problems_of(with_provider(acs + settings), environ)), expected, settings)
