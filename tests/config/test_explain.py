from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config, explain
from smtprelay.config.setting import all_settings
from smtprelay.config.unknown_keys import RENAMED


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
        self.assertEqual(explain("providers.smarthost.verify").default, True)
        error = self.assertRaises(LookupError, explain, "providers.acs.verify")
        self.assertIn('there is no setting "verify" in "providers.*"', str(error))

    def test_types(self) -> None:
        """The key "type" has all that are available, also where its section is explained."""
        for key, some in (("providers", "capture or"), ("checkers", "any")):
            found = explain(f"{key}.type").type
            self.assertIn(some, found)
            self.assertEqual(explain(key).keys["type"], found)
        self.assertIn("smarthost", explain("providers.type").type)
        self.assertEqual(explain("providers.smarthost.type").type, "smarthost")

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
        """Every key can be explained, also without the names of entries."""
        every = [each.key for each in all_settings(Config)]
        self.assertGreater(len(every), 100)
        for key in every:
            self.assertEqual([explain(key).key, explain(key.replace(".*", "")).key], [key, key])

    def test_unknown(self) -> None:
        """A key that is none is told with what was meant, an old one with its new name."""
        for key, words in {
            "hostnme": 'there is no setting "hostnme" - did you mean "hostname"?',
            "spool.leese": 'there is no setting "leese" in "spool" - did you mean "lease"?',
            "hostname.x": 'there is no setting "x" in "hostname"',
            "blind": 'there is no setting "blind" - did you mean "providers.*.blind"?',
            "required": (
                'there is no setting "required"'
                ' - did you mean "listeners.*.auth.required" or "dkim.*.required"?'
            ),
            "pace": 'there is no setting "pace" - did you mean "providers.*.rate"?',
        }.items():
            self.assertEqual(str(self.assertRaises(LookupError, explain, key)), words)
        for key, words in {
            "": 'there is no setting "": expected hostname or control_socket or listeners or',
            "spool.frob": 'there is no setting "frob" in "spool": expected engine or path or url or',
        }.items():
            self.assertIn(words, str(self.assertRaises(LookupError, explain, key)))
        for old, new in RENAMED.items():
            error = self.assertRaises(LookupError, explain, old.replace("*", "0"))
            self.assertEqual(str(error), f'the key "{old.rpartition(".")[2]}" is now called "{new}"')
