"""What of a configuration has changed, and what of it only a restart can change."""

import tempfile
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import Config, load
from smtprelay.config.changes import applicable, changes

HASH = "$scrypt$ln=15,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA==$cSU1qI1mD0cmzGzCkZk1nQ=="

BASE = f"""\
hostname: relay.test
control_socket: control.sock
listeners: [{{name: lan, endpoint: "tcp:2525"}}, {{name: wan, endpoint: "tcp:2526"}}]
users: [{{name: ann, password_hash: "{HASH}"}}]
providers:
  out: {{type: smarthost, host: mail.test, username: ann, password: secret, rate: [30/min]}}
routes: [{{name: all, via: [out]}}]
spool: {{path: spool}}
http: [{{endpoint: "tcp:9090", serve: [health]}}]
"""


class ChangesTests(SynchronousTestCase):
    def config(self, *edits: tuple[str, str]) -> Config:
        text = BASE
        for old, new in edits:
            self.assertIn(old, text)
            text = text.replace(old, new)
        # Not trial's own: the path of a UNIX socket has at most 107 bytes.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "relay.yaml"
            file.write_text(text)
            loaded = load(str(file), {}).config
        # Each was loaded from a folder of its own.
        spool = loaded.spool and evolve(loaded.spool, path=Path(loaded.spool.path).name)
        return evolve(loaded, spool=spool, control_socket=Path(loaded.control_socket).name)

    def texts(self, *edits: tuple[str, str]) -> list[str]:
        old = self.config()
        usable, _ = applicable(old, self.config(*edits))
        return [str(each) for each in changes(old, usable)]

    def test_nothing(self) -> None:
        """The same file changes nothing."""
        self.assertEqual(self.texts(), [])

    def test_values(self) -> None:
        """Each setting is named in full, with both values as the file has them."""
        for edit, text in (
            (("tcp:2526", "tcp:2527"), "listeners.wan.endpoint: tcp:2526 → tcp:2527"),
            (("[30/min]", "[40/min, 100/h]"), "providers.out.rate: 30/min → 40/min, 100/h"),
            ((", rate: [30/min]", ""), "providers.out.rate: 30/min → none"),
            (("serve: [health]", "serve: [metrics]"), "http.0.serve: health → metrics"),
            (("spool: {", "bounces: {copy: a@b.test}\nspool: {"), "bounces.copy: none → a@b.test"),
        ):
            self.assertEqual(self.texts(edit), [text])

    def test_sections(self) -> None:
        """What comes, goes or becomes another thing is said as a whole."""
        other = "out: {type: capture, path: mail}\n"
        whole = BASE[BASE.index("  out:") : BASE.index("routes:")].strip() + "\n"
        self.assertEqual(self.texts((whole, other)), ["providers.out: replaced"])
        self.assertEqual(
            self.texts((whole, f"{whole}  {other.replace('out', 'new')}"))[0], "providers.new: added"
        )
        listener = ', {name: wan, endpoint: "tcp:2526"}'
        self.assertEqual(self.texts((listener, "")), ["listeners.wan: removed"])

    def test_order(self) -> None:
        """Another order of routes is a change; that of providers means nothing."""
        first, second = "{name: all, via: [out]}", "{name: other, via: [out]}"
        both = (f"[{first}]", f"[{first}, {second}]")
        old = self.config(both)
        changed = changes(old, self.config((f"[{first}]", f"[{second}, {first}]")))
        self.assertEqual([str(each) for each in changed], ["routes: all, other → other, all"])

    def test_secrets(self) -> None:
        """That a secret has changed is told, and nothing of it."""
        self.assertEqual(
            self.texts(("password: secret", "password: other")), ["providers.out.password: changed"]
        )
        self.assertEqual(
            self.texts((HASH, HASH.replace("cSU1", "cSU2"))), ["users.ann.password_hash: changed"]
        )

    def test_only_by_a_restart(self) -> None:
        """The spool, the workers and where the log goes stay as they are; the keys are told."""
        edits = (
            (
                "spool: {path: spool}",
                "spool: {path: other, lease: 30s}\nlogging: {level: debug, format: text}",
            ),
            ("control.sock", "other.sock"),
        )
        old, new = self.config(), self.config(*edits)
        usable, restart = applicable(old, new)
        self.assertEqual((usable.spool, usable.control_socket), (old.spool, old.control_socket))
        self.assertEqual((usable.logging.level, usable.logging.format), ("debug", "auto"))
        self.assertEqual(sorted(restart), ["control_socket", "logging.format", "spool.lease", "spool.path"])

    def test_a_spool_that_comes_or_goes(self) -> None:
        """Without its spool the rest of a configuration means something else: it is refused as a whole."""
        synchronous = BASE.replace('525"}', '525", delivery: synchronous}').replace(
            '526"}', '526", delivery: synchronous}'
        )
        without = (BASE, synchronous.replace("spool: {path: spool}\n", ""))
        self.assertRaises(ValueError, applicable, self.config(), self.config(without))
        self.assertRaises(ValueError, applicable, self.config(without), self.config())

    def test_truth(self) -> None:
        """True and false are written as in the file."""
        edit = (
            'name: lan, endpoint: "tcp:2525"',
            'name: lan, endpoint: "tcp:2525", auth: {allow_plaintext: true}',
        )
        self.assertIn("listeners.lan.auth.allow_plaintext: false → true", self.texts(edit))
