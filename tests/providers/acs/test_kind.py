"""What must be right about the settings of Azure Communication Services."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.kind import credentials_of
from tests.config.loading import codes, load_text, problems_of, with_provider


class AcsKindTests(SynchronousTestCase):
    def told(self, more: str) -> list[str]:
        text = with_provider("type: acs, sender: a@b.example, connection_string: {env: C}" + more)
        problems = problems_of(text, {"C": "endpoint=https://x.example;accesskey=a2V5"})
        return [f"{each.code} {each.text}" for each in problems]

    def test_together(self) -> None:
        """Blind recipients together need an address that the service takes, and room beside it."""
        together = ", blind: together"
        for more, expected in {
            "": [],
            ", blind: single": [],
            f"{together}, blind_to: list@b.example": [],
            together: ['CFG-MISSING "blind_to" is missing: with blind: together it is the address in To'],
            f"{together}, blind_to: list@nas": [
                "CFG-VALUE expected an address that the service accepts: name@host.example"
            ],
            f"{together}, blind_to: list@b.example, limits: {{recipients: 1}}": [
                "CFG-VALUE recipients is 1: with blind_to in To there is no room for a recipient"
            ],
            ", blind_to: list@b.example": ["CFG-VALUE blind_to is only used with blind: together"],
        }.items():
            self.assertEqual(self.told(more), expected)

    def test_it_needs_one_way_to_log_in(self) -> None:
        """A connection string, or an endpoint with one or two keys; not both and not neither."""
        string = "connection_string: {env: C}"
        environ = {"C": "endpoint=https://x.example;accesskey=a2V5", "K": "a2V5"}
        cases = {
            string: [],
            "endpoint: 'https://x', access_keys: [{env: K}]": [],
            "access_keys: [{env: K}]": ["CFG-MISSING"],
            "endpoint: 'https://x'": ["CFG-MISSING"],
            string + ", endpoint: 'https://x'": ["CFG-VALUE"],
            string + ", access_keys: [{env: K}]": ["CFG-VALUE"],
            "endpoint: 'https://x', access_keys: [{env: K}, {env: K}, {env: K}]": ["CFG-VALUE"],
        }
        for settings, expected in cases.items():
            text = with_provider("type: acs, sender: a@b, " + settings)
            self.assertEqual(codes(problems_of(text, environ)), expected, settings)

    def test_access_keys(self) -> None:
        """A key that is no base64, or an endpoint that is more than a host, is an error and not repeated."""
        code = {"must be https": "CFG-CLEAR-TEXT"}
        string, parts = "connection_string: {env: C}", "endpoint: '%s', access_keys: [{env: K}]"
        host, more, http = "https://x.example", "https://x.example/not_a_key", "http://x.example"
        for settings, place, key, where, told in (
            (string, host, "not_a_key", "connection_string", "no base64"),
            (string, more, "a2V5", "connection_string", "more than a host"),
            (string, http, "a2V5", "connection_string", "must be https"),
            (parts % host, host, "not_a_key", "access_keys[0]", "no base64"),
            (parts % host, host, "endpoint=https://x.example;accesskey=a2V5", "access_keys[0]", "no base64"),
            (parts % more, host, "a2V5", "endpoint", "more than a host"),
        ):
            environ = {"C": f"endpoint={place};accesskey={key}", "K": key}
            [problem] = problems_of(with_provider(f"type: acs, sender: a@b, {settings}"), environ)
            self.assertEqual((problem.code, problem.severity), (code.get(told, "CFG-SECRET"), "error"))
            self.assertIn(told, problem.text)
            self.assertTrue(problem.text.startswith(f"providers.more.{where}: "), problem.text)
            self.assertNotIn("not_a_key", problem.text)
            self.assertNotIn("a2V5", problem.text)

    def test_secrets_are_read_anew(self) -> None:
        """A key file that an operator corrected is what the next request signs with."""
        path = Path(self.mktemp()).absolute()
        path.write_text("endpoint=https://x.example/;accesskey=AAECAwQF\n")
        text = with_provider(f"type: acs, sender: a@x.example, connection_string: {{file: {path}}}")
        settings = load_text(text).config.providers["more"]
        before = credentials_of(settings)
        path.write_text("endpoint=https://x.example/;accesskey=BBBBBBBBBBBB\n")
        self.assertEqual((before.keys, credentials_of(settings).keys), (("AAECAwQF",), ("BBBBBBBBBBBB",)))

    def test_two_keys(self) -> None:
        """``endpoint`` with two access keys gives both, in their order."""
        settings = (
            "type: acs, sender: a@x.example, endpoint: https://x.example, access_keys: [AAECAwQF, BBBBBBBB]"
        )
        found = load_text(with_provider(settings)).config.providers["more"]
        self.assertEqual(credentials_of(found).keys, ("AAECAwQF", "BBBBBBBB"))
