"""What must be right about the settings of Amazon SES."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import load_text, problems_of, with_provider

ROLE = "arn: 'arn:aws:iam::123456789012:role/mail'"


class SesKindTests(SynchronousTestCase):
    def told(self, more: str) -> list[str]:
        return [f"{each.code} {each.text}" for each in problems_of(with_provider(f"type: ses{more}"))]

    def test_good(self) -> None:
        """Nothing has to be said, and everything can be."""
        self.assertEqual(self.told(""), [])
        more = (
            ", region: eu-west-1, api: v2, configuration_set: tracking, tags: {app: relay}, tenant: t"
            ", list: {name: l}, endpoint: null"
            f", feedback: a@b.example, assume_role: {{{ROLE}, external_id: x, session_name: null}}"
        )
        self.assertEqual(self.told(more), [])

    def test_wrong(self) -> None:
        """A name that SES would refuse is an error that says what is expected."""
        for more, words in {
            "region: Ireland": "expected a region such as eu-west-1",
            "configuration_set: 'a b'": "expected letters, digits, _ and -",
            "identity_arn: example.com": "expected arn:aws:ses:REGION:ACCOUNT:identity/NAME",
            "assume_role: {arn: mail}": "expected arn:aws:iam::ACCOUNT:role/NAME",
            f"assume_role: {{{ROLE}, session_name: 'a b'}}": "expected 2 to 64 of",
            "tags: {'a b': c}": "expected letters, digits, _ and -",
            "tags: {a: 'ü'}": "expected letters, digits, _ and -",
            "api: v1, tenant: t": "tenant needs api: v2",
            "api: v1, list: {name: l}": "list needs api: v2",
            "api: v1, feedback: a@b.example": "feedback needs api: v2",
        }.items():
            [problem] = self.told(f", {more}")
            self.assertTrue(problem.startswith("CFG-VALUE "), problem)
            self.assertIn(words, problem)

    def test_vault(self) -> None:
        """Credentials from Vault are not available, whatever is in them."""
        self.assertEqual(
            self.told(", vault: {path: aws/creds/mail, tokn: x}"),
            ["CFG-UNAVAILABLE credentials from Vault is not available in this version"],
        )

    def test_session_name(self) -> None:
        """The session of a role is called like the relay."""
        text = "hostname: relay.example.com\n" + with_provider(f"type: ses, assume_role: {{{ROLE}}}")
        self.assertEqual(
            load_text(text).config.providers["more"].assume_role.session_name, "relay.example.com"
        )

    def test_botocore_is_not_imported(self) -> None:
        """Neither a configuration without SES nor the building of a provider imports more than it needs."""
        program = (
            "import sys; from smtprelay.providers.registry import BUILT_IN; "
            "import smtprelay.providers.ses.provider; "
            "sys.exit(any(name.startswith('botocore') for name in sys.modules))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program], check=False).returncode, 0)
