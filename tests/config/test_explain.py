from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from docs.reference import reference
from smtprelay.config import Config, Explained, example, explain
from smtprelay.config.environment import overlay
from smtprelay.config.setting import all_settings
from smtprelay.config.tree import Scalar, Table, TreeNode, nearest
from smtprelay.config.unknown_keys import RENAMED
from smtprelay.config.yaml_source import parse
from smtprelay.settings.complaint import Path
from tests.config.loading import uncommented

#: Providers of several types, a list whose entries have names, and one whose entries have none.
NAMED = """\
listeners:
  - {name: lan, endpoint: "tcp:2525:interface=127.0.0.1"}
  - {endpoint: "tcp:2526:interface=127.0.0.1", name: a.b}
providers:
  gun: {type: mailgun, domain: mg.example.com, api_key: {env: KEY}}
  acs-main: {type: capture, path: captured}
  mail.example.com: {type: capture, path: captured}
  x: {type: ses, region: eu-west-1, vault: {path: aws/creds/mail, approle: {role_id: mail}}}
routes: [{name: all, via: [gun]}]
dkim: [{domain: example.com, selector: s, key: {env: KEY}}]
spool: {path: spool}
"""


def one(key: str, root: Table | None = None) -> Explained:
    """Return what ``key`` names, which is one setting."""
    [found] = explain(key, root)
    return found


class ExplainTests(SynchronousTestCase):
    def test_a_setting(self) -> None:
        """Help, type, default and example of one key, wherever the names of entries stand."""
        for key in ("providers.acs.rate", "providers.acs.rate"):
            found = one(key)
            self.assertEqual((found.key, found.help[:13]), ("providers.*.rate", "most requests"))
            self.assertEqual((found.setting.default, found.setting.example), ([], "[30/min, 100/h]"))
            self.assertIn("30/min", found.setting.type)
        for key in ("listeners.0.auth.allow_plaintext", "listeners[0].auth.allow_plaintext"):
            setting = one(key).setting
            self.assertEqual((setting.default, setting.type), (False, "true or false"))

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
        self.assertEqual({key: one(key).setting.default for key in spelled}, spelled)

    def test_required(self) -> None:
        """What must be given has no default."""
        self.assertTrue(one("providers.acs.sender").setting.required)
        self.assertEqual(one("providers.acs.sender").setting.default_text, "none, required")
        self.assertFalse(one("hostname").setting.required)

    def test_by_type(self) -> None:
        """The word of a type stands for an entry of it; only its own keys are known."""
        self.assertEqual(one("providers.smarthost.verify").setting.default, True)
        self.assertEqual(one("providers.ses.region").type_words, "ses")
        error = self.assertRaises(LookupError, explain, "providers.acs.verify")
        told = 'there is no setting "verify" in "providers.*": a setting of the type smarthost, not of acs'
        self.assertEqual(str(error), told)
        found = one("providers.mailgun")
        self.assertIn("region", found.keys)
        self.assertNotIn("host", found.keys)
        self.assertEqual((found.help, found.types), ("Mailgun.", {}))

    def test_several(self) -> None:
        """Without a type or a name what differs from type to type is told of each."""
        for key in ("providers.region", "providers.*.region", "providers.my.region"):
            found = {each.type_words: each.setting.default_text for each in explain(key)}
            self.assertEqual(set(found), {"ses", "mailgun"})
            self.assertEqual(found["mailgun"], "us")

    def test_types(self) -> None:
        """A section whose entries have types tells these; the key "type" has all of them."""
        for key, some in (("providers", "capture"), ("checkers", "any")):
            found = one(key)
            self.assertIn(some, found.types)
            self.assertEqual(found.keys, {})
            self.assertIn(some, one(f"{key}.type").setting.type)
        self.assertIn("smarthost", one("providers.type").setting.type)
        self.assertEqual(one("providers.smarthost.type").setting.type, "smarthost")

    def test_names_that_are_keys(self) -> None:
        """An entry may be called like one of its keys, as a smarthost is called host."""
        self.assertEqual(one("providers.host.port").key, one("providers.relay.port").key)
        self.assertEqual(one("users.name.senders").key, one("users.joe.senders").key)
        self.assertEqual(one("providers.host.host").key, "providers.*.host")
        self.assertEqual(one("listeners.tls.tls.mode").key, "listeners.*.tls.mode")

    def test_sections(self) -> None:
        """A section tells its keys, each with its help."""
        found = one("spool")
        self.assertEqual(found.setting.type, "section")
        self.assertEqual(found.keys["path"].help, "the folder, for the engine sqlite.")

    def test_every_key(self) -> None:
        """Every key explains itself, also without names of entries; it has a default or is required."""
        every = list(all_settings(Config))
        self.assertGreater(len(every), 100)
        page = reference()
        for each in every:
            self.assertIn(f"``{each.key}``", page)
            for key in (each.key, each.key.replace(".*", "")):
                self.assertEqual({found.key for found in explain(key)}, {each.key})
            found = [one for one in explain(each.key) if each.owner in one.setting.owners]
            self.assertEqual([one.help for one in found], [each.help], each.key)
            self.assertTrue(each.default_text or each.classes, each.key)


class ConfiguredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = parse(NAMED.encode(), "smtprelay.yaml", {}).root

    def test_by_name(self) -> None:
        """The configuration has the types of its entries; a name counts before the word of a type."""
        found = one("providers.gun", self.root)
        self.assertEqual((found.key, found.help), ("providers.gun", "Mailgun."))
        self.assertNotIn("host", found.keys)
        self.assertEqual(one("providers.gun.region", self.root).setting.default, "us")
        self.assertEqual(one("providers.mail.example.com.path", self.root).type_words, "capture")
        role = one("providers.x.vault.approle.role_id", self.root)
        self.assertEqual(role.variable, "SMTPRELAY_PROVIDERS__X__VAULT__APPROLE__ROLE_ID")
        self.assertEqual(one("providers.ses.region", self.root).key, "providers.*.region")

    def test_lists(self) -> None:
        """An entry of a list is named by its position, or by its name."""
        for key in ("listeners.0.tls.mode", "listeners.lan.tls.mode", "listeners[lan].tls.mode"):
            found = one(key, self.root)
            self.assertEqual(found.key, "listeners[0].tls.mode")
            self.assertEqual(found.option, "listeners.lan.tls.mode")
        self.assertEqual(one("dkim.0.key", self.root).variable, "SMTPRELAY_DKIM__0__KEY")
        self.assertEqual(one("dkim.1.key", self.root).variable, "SMTPRELAY_DKIM__1__KEY")
        self.assertEqual(one("listeners.a.b.tls.mode", self.root).option, "listeners.1.tls.mode")

    def test_names_that_nothing_can_spell(self) -> None:
        """A name with a dot is none that ``--set`` or a variable could have."""
        found = one("providers.mail.example.com.path", self.root)
        self.assertEqual((found.option, found.variable), ("", ""))
        self.assertEqual(one("providers.acs-main.path", self.root).option, "providers.acs-main.path")
        self.assertEqual(
            one("providers.acs-main.path", self.root).variable, "SMTPRELAY_PROVIDERS__ACS_MAIN__PATH"
        )

    def test_keys_with_dots(self) -> None:
        """Where the keys of a map have dots, no variable and no option is named, only the file."""
        for key in ("logging.levels", "logging.levels.smtprelay.smtp", "routes.rewrite.recipients"):
            found = one(key)
            self.assertEqual((found.option, found.variable, found.setting.only_in_file), ("", "", True), key)
        found = one("logging.levels.twisted")
        self.assertEqual((found.option, found.setting.only_in_file), ("logging.levels.twisted", False))

    def test_the_name_of_a_variable(self) -> None:
        """It is that of the setting, spelled as the configuration has it."""
        self.assertEqual(one("SMTPRELAY_SPOOL__PATH").key, "spool.path")
        self.assertEqual(one("SMTPRELAY_PROVIDERS__ACS_MAIN__PATH", self.root).key, "providers.acs-main.path")

    def test_a_number_as_a_name(self) -> None:
        """A number is a position, as it is for a variable and ``--set``."""
        names = "".join(f"  - {{name: '{name}', endpoint: 'tcp:{name}'}}\n" for name in (2, 1, 0))
        root = parse(f"listeners:\n{names}".encode(), "smtprelay.yaml", {}).root
        found = one("listeners.0.banner", root)
        self.assertEqual((found.key, found.option), ("listeners[0].banner", "listeners.0.banner"))
        self.assertEqual(overlay(root, {}, [f"{found.option}=x"]), [])
        self.assertEqual(nearest(root, ("listeners", 0, "banner")).mark.file, "--set listeners.0.banner")

    def test_an_unknown_type(self) -> None:
        """What an entry of an unknown type does not have may be one of that type: the type is told."""
        text = "providers: {box: {type: postbox, steam: x}}"
        root = parse(text.encode(), "smtprelay.yaml", {}).root
        error = self.assertRaises(LookupError, explain, "providers.box.steam", root)
        self.assertIn("providers.box: the type postbox is unknown: expected acs or ", str(error))
        self.assertEqual(one("providers.box.type", root).key, "providers.box.type")

    def test_unknown_names(self) -> None:
        """An entry that the configuration does not have is an error, with what was meant."""
        for key, words in {
            "providers.gunn.region": '"gunn" in "providers" of smtprelay.yaml - did you mean "gun"?',
            "providers.zzz": '"zzz" in "providers" of smtprelay.yaml: it has gun, acs-main, '
            "mail.example.com, x",
            "listeners.lam.tls": '"lam" in "listeners" of smtprelay.yaml - did you mean "lan"?',
            "dkim.2.key": '"2" in "dkim" of smtprelay.yaml: it has 0',
            "checkers.x": '"x" in "checkers" of smtprelay.yaml',
            "listeners.lan.allow_from.x": '"x" in "listeners[0].allow_from" of smtprelay.yaml',
        }.items():
            error = self.assertRaises(LookupError, explain, key, self.root)
            self.assertEqual(str(error), f"there is no {words}")

    def test_every_value(self) -> None:
        """What is said to set a value sets it: no part of any name is unknown, and the value is there."""
        text = uncommented(example()).encode()
        loaded = parse(text, "smtprelay.yaml", {}).root
        leaves = dict(_leaves(loaded, ()))
        self.assertGreater(len(leaves), 150)
        found = {place: one(".".join(map(str, place)), loaded) for place in leaves}
        dotted = [each.key for each in found.values() if not (each.variable and each.option)]
        old = [f"routes[0].rewrite.recipients.{each}" for each in ("old@example.org", "*@old.example")]
        domains = [f"providers.graph.{each}.example.com" for each in ("fallback", "notify_failures")]
        keys = {*old, *domains, "logging.levels.smtprelay.smtp"}
        self.assertEqual(set(dotted), keys)
        variables = {each.variable: leaves[place] for place, each in found.items() if each.variable}
        sets = [f"{each.option}={leaves[place]}" for place, each in found.items() if each.option]
        for environ, options in ((variables, []), ({}, sets)):
            root = parse(text, "smtprelay.yaml", {}).root
            self.assertEqual(overlay(root, environ, options), [])
            missed = [place for place in leaves if nearest(root, place).mark.line]
            self.assertEqual([found[place].key for place in missed], dotted)


def _leaves(node: TreeNode, place: Path) -> Iterator[tuple[Path, str]]:
    """Give the path and the text of each value in a tree; a secret is one."""
    if isinstance(node, Scalar):
        yield place, node.text
    elif isinstance(node, Table) and node.keys() <= {"file", "env", "credential", "expires"}:
        yield place, "x"
    else:
        for key, value in node.items() if isinstance(node, Table) else enumerate(node):
            yield from _leaves(value, (*place, key))


class UnknownTests(SynchronousTestCase):
    def test_unknown(self) -> None:
        """A key that is none is told with what was meant, an old one with its new name."""
        for key, words in {
            "hostnme": 'there is no setting "hostnme" - did you mean "hostname"?',
            "spool.leese": 'there is no setting "leese" in "spool" - did you mean "lease"?',
            "hostname.x": 'there is no setting "x" in "hostname"',
            "blind": 'there is no setting "blind" - did you mean "providers.*.blind"?',
            "required": (
                'there is no setting "required"'
                ' - did you mean "listeners.*.auth.required" or "checkers.*.required"'
                ' or "dkim.*.required" or "dkim_table.required"?'
            ),
            "messages": 'there is no setting "messages" - did you mean "listeners.*.limits.messages"?',
            "listener.0": 'there is no setting "listener" - did you mean "listeners"?',
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
