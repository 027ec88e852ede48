import re
from collections.abc import Iterator
from typing import Any

import yaml
from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config, effective, explain
from smtprelay.config.checks.unavailable import ROWS
from smtprelay.config.reference import classes_of, key_of, kind_of
from smtprelay.config.unknown_keys import RENAMED
from tests.config.coming import SECTIONS, SETTINGS, is_coming
from tests.config.loading import SMALL, load_text


def keys(cls: Any = Config, where: str = "", *, coming: bool = True) -> Iterator[str]:
    """Give the way to every key, the names of entries left out; with what is still to come, or without."""
    for attribute in fields(cls):
        key = f"{where}.{key_of(attribute)}".lstrip(".")
        if not coming and key in {name.replace(".*", "") for name in SETTINGS | SECTIONS}:
            continue
        yield key
        for part in classes_of(kind_of(cls, attribute)):
            if coming or not is_coming(part):
                yield from keys(part, key, coming=coming)


class ExplainTests(SynchronousTestCase):
    def test_a_setting(self) -> None:
        """Help, type, default and example of one key, wherever the names of entries stand."""
        for key in ("providers.acs.rate", "providers.rate", "providers.*.rate", "providers.my.rate"):
            found = explain(key)
            self.assertEqual(
                (found.key, found.help[:13], found.default), ("providers.*.rate", "most requests", [])
            )
            self.assertIn("30/min", found.type)
            self.assertEqual(found.example, "[30/min, 100/h]")
        for key in ("listeners.0.auth.allow_plaintext", "listeners[0].auth.allow_plaintext"):
            self.assertEqual((explain(key).default, explain(key).type), (False, "true or false"))

    def test_units(self) -> None:
        """Defaults are spelled as in the file."""
        spelled = {
            "spool.lease": "1m",
            "spool.limit.bytes": "10GiB",
            "spool.limit.free": "5%",
            "routes.expire": "2d",
            "routes.retry.first": "30s",
            "spool.retention.bodies": "0s",
        }
        self.assertEqual({key: explain(key).default for key in spelled}, spelled)

    def test_required(self) -> None:
        """What must be given has no default."""
        self.assertTrue(explain("providers.acs.sender").required)
        self.assertFalse(explain("hostname").required)

    def test_by_type(self) -> None:
        """Behind the word of its type only a provider's own keys are known."""
        self.assertEqual(explain("providers.smarthost.tls").default, "starttls")
        error = self.assertRaises(LookupError, explain, "providers.acs.tls")
        self.assertIn('there is no setting "tls" in "providers.*"', str(error))

    def test_types(self) -> None:
        """The key "type" has all that are available, also where its section is explained."""
        for key, some in (("providers", "capture or"), ("checkers", "any")):
            found = explain(f"{key}.type").type
            self.assertIn(some, found)
            self.assertEqual(explain(key).keys["type"], found)
        self.assertIn("smarthost", explain("providers.type").type)
        missing = {row.word for row in ROWS} & set(explain("providers").keys["type"].split())
        self.assertEqual(missing, set())
        self.assertEqual(explain("providers.smarthost.type").type, "smarthost")

    def test_what_is_not_there(self) -> None:
        """What this version cannot do is said: of a setting, what is below it, a value, a type's keys."""
        self.assertEqual(explain("spool.path").notes, [])
        for key in {re.sub(r"=\w+|\.\*$", "", row.setting) for row in ROWS}:
            self.assertTrue(explain(key).notes, key)
        if "graph" in {row.word for row in ROWS}:
            said = ["the provider type graph is not available in this version"]
            self.assertEqual(
                (explain("providers.graph.tenant").notes, explain("providers.tenant").notes), (said, said)
            )
            self.assertEqual(
                (explain("providers.acs.sender").notes, explain("providers.rate").notes), ([], [])
            )
            self.assertNotIn("tenant", explain("providers").keys)

    def test_names_that_are_keys(self) -> None:
        """An entry may be called like one of its keys, as a smarthost is called host."""
        self.assertEqual(explain("providers.host.port").key, explain("providers.relay.port").key)
        self.assertEqual(explain("users.name.senders").key, explain("users.joe.senders").key)
        self.assertEqual(explain("providers.host.host").key, "providers.*.host")
        self.assertEqual(explain("listeners.tls.tls.mode").key, "listeners.*.tls.mode")

    def test_sections(self) -> None:
        """A section tells its keys, each with its help."""
        found = explain("spool")
        self.assertEqual(found.type, "section")
        self.assertEqual(found.keys["path"], "the folder, for the engine sqlite.")

    def test_every_key(self) -> None:
        """Every key can be explained; its example is in the commented configuration."""
        every = list(keys())
        self.assertGreater(len(every), 150)
        without = {explain(key).key for key in keys(coming=False) if not explain(key).example}
        self.assertEqual(without, {f"routes.*.webhook.{key}" for key in ("secret", "timeout", "ca")})

    def test_help(self) -> None:
        """Every setting has a help, but for some of what this version does not support."""
        without = {found.key for found in map(explain, keys()) if not found.help}
        later = re.compile(
            r"(checkers|dkim|routes\.\*\.rewrite)\.|providers\.\*\.(assume_role|vault)\."
            r"|providers\.\*\.(client_id|client_secret|cloud|configuration_set|region|tags|tenant)$"
        )
        self.assertEqual({key for key in without if not later.match(key)}, set())

    def test_unknown(self) -> None:
        """A key that is none is told with what was meant, an old one with its new name."""
        for key, words in {
            "hostnme": 'there is no setting "hostnme" - did you mean "hostname"?',
            "spool.leese": 'there is no setting "leese" in "spool" - did you mean "lease"?',
            "": 'there is no setting ""',
            "hostname.x": 'there is no setting "x" in "hostname"',
            "blind": 'there is no setting "blind" - did you mean "providers.*.blind"?',
            "required": 'there is no setting "required" - did you mean "listeners.*.auth.required"'
            ' or "checkers.*.required" or "dkim.*.required"?',
            "pace": 'there is no setting "pace" - did you mean "providers.*.rate"?',
        }.items():
            self.assertEqual(str(self.assertRaises(LookupError, explain, key)), words)
        for old, new in RENAMED.items():
            error = self.assertRaises(LookupError, explain, old.replace("*", "0"))
            self.assertEqual(str(error), f'the key "{old.rpartition(".")[2]}" is now called "{new}"')


class SpelledTests(SynchronousTestCase):
    def test_it_loads_again(self) -> None:
        """The effective configuration says the same when it is loaded: every value has its unit."""
        text = SMALL.replace("captured}", "captured, rate: [30/min, 25/10s, 7/90m], limits: {size: 10MB}}")
        text += (
            "routes: [{via: [local], expire: never, retry: {first: 500ms, max: 90s}, match: {size: <2MiB}}]\n"
        )
        config = load_text(text).config
        shown = effective(config)
        self.assertEqual(shown["providers"]["local"]["rate"], ["30/min", "25/10s", "7/90m"])
        # What a version cannot do yet is refused where it is written, whatever it says.
        del shown["listeners"][0]["proxy_trust"], shown["providers"]["local"]["timeout"]
        again = load_text(yaml.safe_dump(shown)).config
        self.assertEqual(effective(again), effective(config))
        self.assertEqual((again.routes, again.providers), (config.routes, config.providers))
