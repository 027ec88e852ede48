"""What each rule of a refusal is told to do about it."""

import ast
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.model.refusal import RefusalRow
from smtprelay.policy.networks import LOOPBACK
from smtprelay.smtp import reply
from smtprelay.smtp.sniff import failed_handshake
from smtprelay.web.remedies import REMEDIES, remedy

HASH = "the output of `smtprelay hash-password`"

ROW = RefusalRow(
    listener="lan", client="10.0.3.7", user="", rule="network", reply="550 5.7.1", domain="", count=1,
    first=1.0, last=2.0, command="MAIL FROM:<a@b>", text="no",
)  # fmt: skip


class TableTests(SynchronousTestCase):
    def test_every_rule_is_known(self) -> None:
        """Whatever rule a reply of the product has, its row says what can be done."""
        used = {each.rule for each in vars(reply).values() if isinstance(each, Reply) and each.code >= 400}
        root = Path(reply.__file__).parents[1]
        for path in root.rglob("*.py"):
            source = path.read_text()
            for node in ast.walk(ast.parse(source)) if any(f"{name}(" in source for name in MAKERS) else ():
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in MAKERS:
                    rule = {word.arg: word.value for word in node.keywords}.get("rule")
                    given = [*([rule] if rule else []), *node.args[MAKERS[node.func.id] :]]
                    used |= {
                        leaf.value
                        for each in given
                        for leaf in ast.walk(each)
                        if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) and leaf.value
                    }
        self.assertGreater(len(used), 40)
        self.assertEqual(used - REMEDIES.keys(), set())

    def test_settings_of_a_row(self) -> None:
        """They name the listener or the user, and the value for this client."""
        for changes, setting in (
            ({}, "listeners[lan].allow_from: add 10.0.3.7/32"),
            ({"client": "2001:db8::/64"}, "listeners[lan].allow_from: add 2001:db8::/64"),
            ({"client": "unix"}, ""),
            (
                {"rule": "user-sender", "user": "joe", "text": "joe may not send as <a@b.test>"},
                "users[joe].senders: add a@b.test",
            ),
            ({"rule": "provider-size", "text": "acs takes requests of 9 bytes, this one needs 10"}, ""),
            ({"rule": reply.too_large(9, reply.ROUTES).rule}, ""),
            (
                {"rule": "provider-size", "text": reply.too_large(10_000, "acs20000", 15_000).text},
                "providers.acs20000.limits.size: set 20000B",
            ),
            (
                {
                    "rule": "provider-size",
                    "text": "The message of 70 bytes is too large for route r9: a2 takes 60 bytes",
                },
                "providers.a2.limits.size: set 120B",
            ),
            (
                {"rule": "size", "text": reply.too_large(1000, size=3000).text},
                "listeners[lan].limits.size: set 3000B",
            ),
            ({"rule": "recipient", "command": "RCPT TO:<*@gmail.com>"}, ""),
            ({"rule": "sender", "command": "MAIL FROM:<scanner>"}, ""),
            ({"rule": "route", "text": "No route leads to <*@gmail.com>"}, ""),
            (
                {"rule": "recipient", "command": "RCPT TO:<a, '?': x@b.test>"},
                """listeners[lan].allow_recipients: add "a, '?': x@b.test\"""",
            ),
            (
                {"rule": "auth", "user": "x].a: set 1; users[y"},
                'users["x].a: set 1; users[y"].password_hash: set the output of `smtprelay hash-password`',
            ),
            (
                {"rule": "route", "text": 'No route leads to <"a b"@c.test>'},
                'routes: add {match: {recipient: ["\\"a b\\"@c.test"]}, via: [PROVIDER]}',
            ),
            ({"rule": "mechanism", "command": "AUTH CRAM-MD5"}, ""),
            ({"rule": "syntax"}, ""),
            ({"rule": "timeout"}, "listeners[lan].limits.command_time: more than now (5m unless it is set)"),
            ({"rule": "spool-full", "text": "The spool is full, try again later"}, ""),
            (
                {"rule": "spool-full", "text": "The spool is full: spool.limit.deliveries is 5"},
                "spool.limit.deliveries: more than 5",
            ),
            (
                {"rule": "spool-full", "text": "The spool is full: spool.limit.free is 5.0%"},
                "spool.limit.free: less than 5.0%",
            ),
            (
                {"rule": "auth-user", "user": "joe}, {name: eve"},
                f'users: add {{name: "joe}}, {{name: eve", password_hash: {HASH}}}',
            ),
            ({"rule": "tls-handshake", "text": "TLS failed: the client does not trust our certificate"}, ""),
            (
                {"rule": "tls-handshake", "text": failed_handshake("unsupported protocol", "modern")},
                "listeners[lan].tls.profile: set legacy",
            ),
        ):
            found = remedy(evolve(ROW, **changes))
            self.assertEqual(found.setting, setting)
            self.assertTrue(found.setting or found.advice, changes)

    def test_what_is_better_comes_first(self) -> None:
        """Where the setting opens more than it must, the advice is no second choice; elsewhere it is."""
        both = {rule: advice for rule, (setting, advice) in REMEDIES.items() if setting and advice}
        safer = {rule for rule, advice in both.items() if not advice.startswith("or ")}
        self.assertEqual(
            safer,
            {
                "auth",
                "auth-required",
                "auth-always",
                "auth-not-offered",
                "login-without-tls",
                "tls",
                "tls-for-login",
            },
        )
        self.assertEqual(remedy(evolve(ROW, client="unix")).advice[:10], "let it log")

    def test_tls_that_is_not_offered(self) -> None:
        """Who may log in only within TLS, which nobody offers, is told to offer it, and of the key."""
        self.assertTrue(REMEDIES["login-without-tls"][1].startswith("offer STARTTLS"))
        for rule in ("login-without-tls", "not-offered"):
            self.assertIn("tls.key", REMEDIES[rule][1])

    def test_the_default_of_allow_from(self) -> None:
        """Who is told to add to it is told what there is where it is not written."""
        for setting, advice in REMEDIES.values():
            if "allow_from: add" in setting:
                self.assertIn(f"if allow_from is not set it is [{', '.join(LOOPBACK)}]", advice)

    def test_a_rule_of_somebody_else(self) -> None:
        """It has an advice, too."""
        self.assertTrue(remedy(evolve(ROW, rule="xyzzy")).advice)


#: What makes replies, and where its rule is among its arguments.
MAKERS = {"Reply": 3, "_reply": 3, "_refused": 3, "_temporary": 3, "NotMine": 1}
