from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.dkim.headers import SIGNED
from smtprelay.service.build.providers import rule_of
from tests.config.loading import SMALL, codes, load_text, problems_of, told
from tests.mime.dkim.keys import ED25519, PEMS, RSA

ENVIRON = {"K": ED25519}
KEY = "domain: example.com, selector: s1, key: {env: K}"
SENDERS = "sender: d@mail.example.com, sender_domains: [example.net]"
ACS = f"more: {{type: acs, connection_string: {{env: C}}, {SENDERS}}}"
CONNECTION = {**ENVIRON, "C": "endpoint=https://x.example;accesskey=a2V5"}


def with_keys(*keys: str) -> str:
    """Return a configuration with these entries."""
    return SMALL + "dkim:\n" + "".join(f"  - {{{key}}}\n" for key in keys)


class RuleTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Several domains, several selectors of one, and both kinds of keys are no mistake."""
        text = with_keys(KEY, KEY.replace("s1", "s2"), KEY.replace("example.com", "example.net"))
        self.assertEqual(problems_of(text, ENVIRON), [])
        for pem in PEMS.values():
            self.assertEqual(problems_of(with_keys(KEY), {"K": pem}), [])

    def test_rule(self) -> None:
        """The rule has what the entry says, and names as DNS and headers are compared."""
        entry = "domain: Bücher.example, selector: S1, key: {env: K}, canonicalization: simple/relaxed"
        [given, default] = load_text(with_keys(f"{entry}, headers: [From, X-One]", KEY), ENVIRON).config.dkim
        rule = rule_of(given)
        self.assertEqual((rule.domain, rule.selector), ("xn--bcher-kva.example", "s1"))
        self.assertEqual((rule.canonicalization, rule.names), ("simple/relaxed", ("from", "x-one")))
        self.assertEqual(rule_of(default).canonicalization, "relaxed/relaxed")
        self.assertEqual((rule_of(default).names, default.required), (SIGNED, True))

    def test_twice(self) -> None:
        """A selector names one key, in whatever case."""
        self.assertEqual(
            codes(problems_of(with_keys(KEY, KEY.replace("s1", "S1")), ENVIRON)), ["CFG-DUPLICATE"]
        )

    def test_headers(self) -> None:
        """From is signed, and nothing that changes on the way; what is no name is refused."""
        for headers, expected in (
            ("[From, Subject]", []),
            ("[from]", []),
            ("[Subject]", ["CFG-VALUE"]),
            ("[]", ["CFG-VALUE"]),
            ("[From, Received]", ["CFG-VALUE"]),
            ("[From, DKIM-Signature]", ["CFG-VALUE"]),
            ('[From, "X Y"]', ["CFG-VALUE"]),
        ):
            problems = problems_of(with_keys(f"{KEY}, headers: {headers}"), ENVIRON)
            self.assertEqual(codes(problems), expected, headers)


class CarrierTests(SynchronousTestCase):
    def problems(self, key: str) -> list[str]:
        """Return what is said of a key beside a provider that makes mail of its own."""
        text = with_keys(key).replace("captured}", f"captured}}, {ACS}")
        text += "routes: [{via: [more]}]\n"
        return told(problems_of(text, CONNECTION))

    def test_required(self) -> None:
        """A signature that is required, on mail that cannot carry it, is an error at its place."""
        for domain in ("mail.example.com", "Example.NET"):
            [problem] = self.problems(KEY.replace("example.com", domain))
            self.assertIn(f'CFG-DKIM "more" makes a mail of its own: a signature of {domain}', problem)
            self.assertIn("required: false sends such mail without one", problem)

    def test_not_required(self) -> None:
        """One that is not required is a warning."""
        text = with_keys(f"{KEY.replace('example.com', 'example.net')}, required: false")
        text = text.replace("captured}", f"captured}}, {ACS}") + "routes: [{via: [more]}]\n"
        self.assertEqual(codes(problems_of(text, CONNECTION)), ["CFG-DKIM?"])

    def test_other_domains(self) -> None:
        """A provider that has no mail of the domain is no mistake, nor is one that keeps mail here."""
        self.assertEqual(self.problems(KEY), [])

    def test_raw(self) -> None:
        """Providers that send mail as MIME carry it."""
        text = with_keys(KEY).replace(
            "captured}",
            "captured}, a: {type: smarthost, host: mx.example.com}, b: {type: ses, region: eu-west-1}",
        )
        text += "routes: [{via: [a, b]}]\n"
        self.assertEqual(problems_of(text, ENVIRON), [])


class KeyTests(SynchronousTestCase):
    def test_unusable(self) -> None:
        """A key that cannot sign is told at its place, in words, and is not shown."""
        for value, words in (
            ("s3cret", "no private key in PEM form"),
            (RSA.replace("RSA PRIVATE", "PUBLIC"), "it is the public key"),
        ):
            [problem] = problems_of(with_keys(KEY), {"K": value})
            self.assertEqual((problem.code, problem.line), ("CFG-DKIM", 5))
            self.assertIn("dkim[0].key: ", problem.text)
            self.assertIn(words, problem.text)
            self.assertNotIn("s3cret", str(problem))

    def test_missing(self) -> None:
        """A key that is not there is told as every missing secret, once."""
        text = with_keys(KEY.replace("env: K", "file: /nope"))
        self.assertEqual(codes(problems_of(text)), ["CFG-SECRET"])


class TableTests(SynchronousTestCase):
    URL = "https://acct.table.core.windows.net/relay"

    def found(self, table: str, more: str = "") -> list[str]:
        text = f"{SMALL}dkim_table: {{{table}}}\n{more}"
        return [f"{each.code} {each.text}" for each in problems_of(text, {**CONNECTION, "K": "a" * 43 + "="})]

    def test_good(self) -> None:
        """By a key, by a signature, or as the identity of the machine; ``dkim`` may be beside it."""
        for reader in ("", ", key: {env: K}", ", sas: {env: K}, partition: keys, refresh: 1h, required: all"):
            self.assertEqual(self.found(f'url: "{self.URL}"{reader}', f"dkim: [{{{KEY}}}]\n")[1:], [])

    def test_mistakes(self) -> None:
        """Each mistake says what is wrong."""
        for table, code in (
            ("required: rows", "CFG-MISSING"),
            ("url: http://acct.table.core.windows.net/relay", "CFG-CLEAR-TEXT"),
            (f'url: "{self.URL}?sv=1&sig=x", key: {{env: K}}', "CFG-VALUE"),
            (f'url: "{self.URL}", key: {{env: K}}, sas: {{env: K}}', "CFG-VALUE"),
            (f'url: "{self.URL}", tenant: contoso.com, client_secret: {{env: K}}', "CFG-MISSING"),
            (f'url: "{self.URL}", key: {{env: NONE}}', "CFG-SECRET"),
            (f'url: "{self.URL}", key: {{env: K}}, required: true', "CFG-UNKNOWN-VALUE"),
        ):
            self.assertEqual([each.partition(" ")[0] for each in self.found(table)], [code], table)

    def test_carriers(self) -> None:
        """What makes a mail of its own cannot carry a signature: an error where all mail has to have one."""
        text = SMALL.replace("providers: {", f"providers: {{{ACS}, ", 1) + "routes: [{via: [more]}]\n"
        for required, severity in (("rows", "warning"), ("all", "error")):
            table = f'dkim_table: {{url: "{self.URL}", key: {{env: K}}, required: {required}}}\n'
            found = problems_of(text + table, {**CONNECTION, "K": "a" * 43 + "="})
            self.assertEqual([(each.code, each.severity) for each in found], [("CFG-DKIM", severity)])
