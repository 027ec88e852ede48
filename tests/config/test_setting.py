"""What each key says of itself, in one place: its settings class."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_origin

import yaml
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config
from smtprelay.config.listeners import CertificateSetting
from smtprelay.config.setting import Setting, all_settings, notation_of, settings_in
from smtprelay.settings.provider import HttpProviderSettings
from smtprelay.settings.proxy import ProxySetting
from smtprelay.settings.secret import Secret, is_secret
from smtprelay.settings.values import Notation
from tests.config.loading import SMALL, load_text, problems_of

EVERY = list(all_settings(Config))
WORDS = [each for each in EVERY if not each.classes]


def setting(key: str) -> Setting:
    """Return the first one of that name."""
    return next(each for each in EVERY if each.key == key)


class EverySettingTests(SynchronousTestCase):
    def without(self, settings: list[Setting], what: str) -> list[str]:
        return [each.key for each in settings if not getattr(each, what)]

    def test_help(self) -> None:
        """Every setting and section has a help, which is one or more sentences without markup."""
        self.assertEqual(self.without(EVERY, "help"), [])
        self.assertEqual([each.key for each in EVERY if re.search("``|:ivar|  ", each.help)], [])

    def test_type(self) -> None:
        """Every value has a type; what is counted in units names them."""
        self.assertEqual(self.without(WORDS, "type"), [])
        united = [each for each in WORDS if re.search("duration|size|rate|share", each.type)]
        self.assertGreater(len(united), 20)
        self.assertEqual(self.without(united, "unit"), [])

    def test_default(self) -> None:
        """What an empty word stands for is said in words; what is required has no default."""
        for each in WORDS:
            self.assertFalse(each.required and each.default_words, each.key)
        unsaid = [each for each in WORDS if each.attribute.default == "" and not each.default_words]
        self.assertEqual([each.key for each in unsaid], [])

    def test_example(self) -> None:
        """Every value has an example, which is valid YAML of its shape."""
        self.assertEqual(self.without(WORDS, "example"), [])
        for each in WORDS:
            shape = {tuple: list, Mapping: dict}.get(get_origin(each.kind), object)
            self.assertIsInstance(yaml.safe_load(each.example), shape, each.key)

    def test_variable(self) -> None:
        """Every value has an environment variable, and what it names is that setting; not dotted names."""
        dotted = [each for each in WORDS if each.only_in_file]
        self.assertLess({"routes.*.rewrite.recipients", "logging.levels"}, {each.key for each in dotted})
        self.assertEqual(self.without([each for each in WORDS if each not in dotted], "variable"), [])
        for each in (each for each in WORDS if "*" not in each.key and each not in dotted):
            value = each.example.strip('[]"').split(",")[0]
            problems = problems_of("", {each.variable: value})
            self.assertEqual([p.text for p in problems if "unknown key" in p.text], [], each.variable)

    def test_secrets(self) -> None:
        """What is hidden has a name by which it is hidden where a line of the file is quoted, too.

        The login of a proxy is hidden there by its form; a certificate is never in the configuration itself.
        """
        hidden = [
            each
            for each in WORDS
            if ("Secret" in str(each.kind) and each.kind not in {ProxySetting, CertificateSetting})
            or getattr(notation_of(each.kind), "hidden", False)
        ]
        self.assertGreater(len(hidden), 6)
        self.assertEqual([each.key for each in hidden if not is_secret(each.name)], [])


class SettingTests(SynchronousTestCase):
    def test_labels(self) -> None:
        """Help, exclusion, default and example are told apart, also over several lines."""
        found = setting("providers.*.access_keys")
        self.assertTrue(found.help.endswith("when the first is refused."), found.help)
        self.assertEqual(found.instead_of, "connection_string")
        self.assertEqual(found.example, "[{file: /run/secrets/acs_key1}, {file: /run/secrets/acs_key2}]")
        self.assertEqual(setting("listeners.*.banner").default_words, "<hostname> ESMTP")
        self.assertEqual(setting("spool.lease").default_words, "")

    def test_examples_without_words(self) -> None:
        """Without an example of its own a setting shows its default, else its first choice."""
        self.assertEqual(setting("spool.lease").example, "1m")
        self.assertEqual(setting("listeners.*.open_relay").example, "accepted")
        self.assertEqual(setting("listeners.*.auth.required").example, "false")

    def test_variables(self) -> None:
        """The variable of a list is that of its first entry, that of a map has the name of one."""
        self.assertEqual(setting("bounces.via").variable, "SMTPRELAY_BOUNCES__VIA__0")
        self.assertEqual(setting("logging.levels").variable, "")
        self.assertEqual(
            setting("routes.*.match.header").variable, "SMTPRELAY_ROUTES__0__MATCH__HEADER__NAME"
        )
        self.assertEqual(setting("users.*.name").variable, "SMTPRELAY_USERS__0__NAME")
        self.assertEqual(setting("dkim.*.headers").variable, "SMTPRELAY_DKIM__0__HEADERS__0")
        self.assertEqual(setting("providers.*.rate").option, "providers.NAME.rate.0")
        environ = {"SMTPRELAY_LOGGING__LEVELS__X": "warn", "SMTPRELAY_BOUNCES__VIA__0": "local"}
        config = load_text(SMALL, environ).config
        self.assertEqual((config.logging.levels, config.bounces.via), ({"x": "warn"}, ("local",)))

    def test_another_package(self) -> None:
        """Settings of another package, with a type of their own, say the same; those of a base follow."""

        @frozen(kw_only=True)
        class Settings(HttpProviderSettings):
            """
            Other.

            :ivar odd: what it is. Example: ``3``.
            """

            type: Literal["other"]
            odd: Annotated[str, Notation(str, "an odd number")]
            key: Secret | None = None

        found = settings_in(Settings, setting("providers"))
        self.assertEqual([each.name for each in found[:4]], ["type", "odd", "key", "rate"])
        self.assertEqual(
            (found[1].type, found[1].help, found[1].example), ("an odd number", "what it is.", "3")
        )
        self.assertEqual(found[1].variable, "SMTPRELAY_PROVIDERS__NAME__ODD")
