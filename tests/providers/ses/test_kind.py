"""What must be right about the settings of Amazon SES."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import render, sources
from smtprelay.providers.registry import BUILT_IN
from smtprelay.providers.ses.sources import VaultSource
from smtprelay.providers.ses.vault_settings import JwtSettings, VaultSettings, vault_source
from smtprelay.settings.secret import fixed
from tests.config.loading import load_text, problems_of, with_provider
from tests.providers.aws_peers import environment

ROLE = "arn: 'arn:aws:iam::123456789012:role/mail'"


class SesKindTests(SynchronousTestCase):
    def told(self, more: str, **variables: str) -> list[str]:
        environ = {
            "AWS_REGION": "eu-west-1",
            "VAULT_ADDR": "https://v.example",
            "VAULT_TOKEN": "t",
            **variables,
        }
        with environment({}):
            found = problems_of(with_provider(f"type: ses{more}"), environ)
        return [f"{each.code} {each.text}" for each in found]

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
            f"tags: {{{', '.join(f't{n}: x' for n in range(51))}}}": "51 tags: SES takes 50",
            "region: eu-west-2, identity_arn: 'arn:aws:ses:eu-west-1:123456789012:identity/a.example'": (
                "an identity of eu-west-1, and region is eu-west-2"
            ),
            f"configuration_set: {'a' * 65}": "at most 64",
            "tenant: 'a b'": "expected letters, digits, _ and -",
            "list: {name: 'a b'}": "expected letters, digits, _ and -",
            "feedback: jürgen@b.example": "letters of ASCII only before the @",
            "api: v1, tenant: t": "tenant needs api: v2",
            "api: v1, list: {name: l}": "list needs api: v2",
            "api: v1, feedback: a@b.example": "feedback needs api: v2",
        }.items():
            [problem] = self.told(f", {more}")
            self.assertTrue(problem.startswith("CFG-VALUE "), problem)
            self.assertIn(words, problem)

    def test_vault(self) -> None:
        """The path alone is enough; of two logins one is used; an address where it can be read is wrong."""
        for more, expected in {
            "": [],
            ", address: 'http://127.0.0.1:8200', approle: {role_id: r}, require_at_start: true": [],
            ", address: 'http://vault.example'": [
                "CFG-CLEAR-TEXT http:// is for loopback only: use https://"
            ],
            ", jwt: {role: r}, approle: {role_id: r}": ["CFG-VALUE of approle and jwt the first is used"],
        }.items():
            self.assertEqual(self.told(f", vault: {{path: aws/creds/mail{more}}}"), expected)

    def test_region_of_the_environment(self) -> None:
        """A wrong region is told of by its variable; it is missing where no profile has one either."""
        text = with_provider("type: ses")
        with environment({}):
            [problem] = problems_of(text, {"AWS_REGION": "Ireland"})
            self.assertEqual((problem.file, problem.severity), ("AWS_REGION", "error"))
            self.assertEqual(
                problem.text, 'providers.more.region: "Ireland": expected a region such as eu-west-1'
            )
            [problem] = problems_of(text)
            self.assertEqual((problem.code, problem.line), ("CFG-MISSING", 2))
            self.assertIn('"region" is missing: set it, or AWS_REGION', problem.text)
            self.assertEqual(problems_of(text, {"AWS_DEFAULT_REGION": "eu-west-1"}), [])
        with environment({"AWS_PROFILE": "nobody"}):
            self.assertIn("profile (nobody) could not be found", problems_of(text)[0].text)
        profile = Path(self.mktemp()).absolute()
        profile.write_text("[default]\nregion = eu-north-1\n")
        with environment({"AWS_CONFIG_FILE": str(profile)}):
            self.assertEqual(problems_of(text), [])

    def test_vault_that_is_nowhere(self) -> None:
        """An address and a login at Vault are in the settings or in variables; its address is a URL."""
        vault = ", vault: {path: aws/creds/mail}"
        self.assertEqual(
            self.told(vault, VAULT_ADDR="", VAULT_TOKEN=""),
            [
                'CFG-MISSING "address" of Vault is missing: set it, or VAULT_ADDR',
                "CFG-MISSING no login at Vault: set approle, jwt or token, or VAULT_TOKEN",
            ],
        )
        where = "providers.more.vault.address"
        told = f'CFG-VALUE {where}: "vault:8200" is not a URL: expected https://…'
        self.assertEqual(self.told(vault, VAULT_ADDR="vault:8200"), [told])
        told = f"CFG-CLEAR-TEXT {where}: http:// is for loopback only: use https://"
        self.assertEqual(self.told(vault, VAULT_ADDR="http://vault.example"), [told])

    def test_what_variables_give(self) -> None:
        """What variables say is in the configuration in force, with their names; of secrets only those."""
        environ = {"AWS_REGION": "eu-west-1", "VAULT_ADDR": "https://v.example", "VAULT_TOKEN": "planted"}
        environ |= {"HTTPS_PROXY": "http://u:planted@proxy.example:3128", "NO_PROXY": "a.example,b.example"}
        loaded = load_text(with_provider("type: ses, vault: {path: p, namespace: n}"), environ)
        found = {name.removeprefix("providers.more."): row for name, *row in sources(loaded, environ)}
        self.assertEqual(found["region"], ["eu-west-1", "AWS_REGION"])
        self.assertEqual(found["vault.address"], ["https://v.example", "VAULT_ADDR"])
        self.assertEqual(found["vault.token"], ["‹env VAULT_TOKEN›", "VAULT_TOKEN"])
        self.assertEqual(found["proxy"], ["http://‹hidden›@proxy.example:3128", "HTTPS_PROXY"])
        self.assertEqual(found["no_proxy[1]"], ["b.example", "NO_PROXY"])
        self.assertEqual(found["vault.ca"], [None, "default"])
        self.assertNotEqual(found["vault.namespace"][1], "default")
        self.assertNotIn("planted", str(found))

    def test_vault_files(self) -> None:
        """The files for the connection to Vault must be there, and the authorities be some."""
        found = self.told(
            f", vault: {{path: p, ca: {__file__}, client_certificate: /none/a.pem, client_key: /none/b.pem}}"
        )
        self.assertEqual(len(found), 3)
        for words, problem in zip(("no certificate", "/none/a.pem", "/none/b.pem"), found, strict=True):
            self.assertTrue(problem.startswith("CFG-FILE "), problem)
            self.assertIn(words, problem)

    def test_vault_secrets_are_hidden(self) -> None:
        """A secret at a wrong place is in no error, nor in the line that it quotes."""
        for more in (
            "jwt: planted",
            "jwt: [planted]",
            "approle: {secretid: planted}",
            "approle: {secret_id: {value: planted}}",
            "tokn: planted",
            "token: {path: planted}",
        ):
            text = with_provider(f"type: ses, vault: {{path: p, {more}}}")
            told = "".join(render(problem) for problem in problems_of(text))
            self.assertIn("error", told, more)
            self.assertNotIn("planted", told, more)

    def test_vault_variables(self) -> None:
        """What the settings do not say is in the variables of Vault; of the logins one is taken."""
        variables = {"ADDR": "https://v.example", "NAMESPACE": "n", "CAPATH": "/ca", "CLIENT_CERT": "/c.pem"}
        variables |= {"TOKEN": "t", "JWT": "j", "JWT_ROLE": "r"}

        def source(**settings: Any) -> VaultSource:
            environ = {f"VAULT_{name}": value for name, value in variables.items()}
            kind = BUILT_IN["ses"]
            ses = kind.settings(type="ses", timeout=7.0, proxy="http://proxy.example:3128")
            completed = VaultSettings(path="p", **settings).completed(environ)
            return vault_source(completed, ses.outbound, ses.timeout)

        found = source()
        self.assertEqual(
            (found.server.address, found.server.namespace, found.server.timeout),
            ("https://v.example", "n", 7.0),
        )
        self.assertEqual(found.server.proxies, {"https": "http://proxy.example:3128"})
        self.assertEqual(found.server.proxy, "proxy.example:3128")
        self.assertEqual((found.server.ca, found.server.certificate), ("/ca", ("/c.pem", "/c.pem")))
        self.assertEqual((found.mount, found.login()), ("jwt", {"role": "r", "jwt": "j"}))
        variables |= {"APPROLE_ROLE_ID": "a", "APPROLE_SECRET_ID": "s", "CACERT": "/ca.pem"}
        self.assertEqual((source().mount, source().login()), ("approle", {"role_id": "a", "secret_id": "s"}))
        self.assertEqual(source().server.ca, "/ca.pem")
        found = source(token=fixed("t2", "inline"), address="https://w.example", ca="/own.pem")
        self.assertEqual((found.mount, found.login()), ("", {"token": "t2"}))
        self.assertEqual((found.server.address, found.server.ca), ("https://w.example", "/own.pem"))
        found = source(jwt=JwtSettings(role="x", mount="k8s"))
        self.assertEqual((found.mount, found.login()), ("k8s", {"role": "x", "jwt": "j"}))
        variables.clear()
        self.assertEqual((source().server.address, source().server.certificate), ("", None))
        self.assertRaisesRegex(ValueError, "set vault.approle, vault.jwt or vault.token", source().login)

    def test_session_name(self) -> None:
        """The session of a role is called like the relay."""
        text = "hostname: relay.example.com\n" + with_provider(
            f"type: ses, region: eu-west-1, assume_role: {{{ROLE}}}"
        )
        self.assertEqual(
            load_text(text).config.providers["more"].assume_role.session_name, "relay.example.com"
        )

    def test_what_is_not_imported(self) -> None:
        """Neither a configuration without SES nor the building of a provider imports more than it needs."""
        program = (
            "import sys; from smtprelay.providers.registry import BUILT_IN; "
            "import smtprelay.providers.ses.provider, smtprelay.providers.ses.sources; "
            "sys.exit(any(name in sys.modules for name in ('botocore', 'hvac', 'requests')))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", program], check=False).returncode, 0)
