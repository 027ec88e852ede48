"""What ``config check`` says of rewriting and of a sandbox."""

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import SMALL, codes, load_text, problems_of


def with_rule(rule: str) -> str:
    """Return a configuration with a rule of its route."""
    return SMALL + f"routes: [{{via: [local], rewrite: {{{rule}}}}}]\n"


class RewriteTests(SynchronousTestCase):
    def test_good(self) -> None:
        """What the documentation shows is right, and so are rules behind each other."""
        for rule in (
            "from: DoNotReply@mail.example.com, keep_from_domains: [mail.example.com], reply_to: original",
            'recipients: {"old@x.org": new@x.org, "*@old.example": "*@new.example"}',
            "add_headers: {X-Relay: smtprelay}, remove_headers: [X-Mailer, Received]",
            'recipients: {"*@a.org": "*@b.org", "x@b.org": y@c.org, "*@*.d.org": "*@d.org"}',
            'recipients: {"*@x.org": team@x.org}',
            "from: a@b.org, add_headers: {Reply-To: help@b.org}",
        ):
            self.assertEqual(problems_of(with_rule(rule)), [], rule)

    def test_senseless(self) -> None:
        """What no mail can obey, or what contradicts itself, is an error that names it."""
        for rule, what in (
            ("reply_to: original", '"from" is missing'),
            ("keep_from_domains: [b.org]", '"from" is missing'),
            ("from: a..b@b.org", "no address that mail"),
            ("from: no address", "is not a mail address"),
            ('recipients: {"a@b.org": c..d@b.org}', "no address that mail"),
            ('recipients: {"a@b.org": "*@-b-"}', "no address that mail"),
            ('recipients: {"a@b.org": "*"}', "is not a mail address, or one such as"),
            ('recipients: {"a@b.org": b@b.org, "b@b.org": a@b.org}', "without an end"),
            ('recipients: {"*@a.org": "*@b.org", "*@b.org": "*@a.org"}', "without an end"),
            ('recipients: {"*": "*@b.org", "x@b.org": y@c.org}', "without an end"),
            ("add_headers: {To: a@b.org}", "not for add_headers"),
            ("add_headers: {Content-Type: text/html}", "not for add_headers"),
            ('add_headers: {X-A: "one\\nBcc: x@y.org"}', "one line of text"),
            ('add_headers: {"X A": b}', "is not the name of a header field"),
            ("remove_headers: [from]", "not for remove_headers"),
            ("from: a@b.org, reply_to: original, add_headers: {reply-to: c@b.org}", "says already"),
            ("from: a@b.org, reply_to: original, remove_headers: [Reply-To]", "says already"),
        ):
            problems = problems_of(with_rule(rule))
            self.assertTrue(problems and all(each.severity == "error" for each in problems), rule)
            self.assertTrue(all(what in each.text for each in problems), f"{rule}: {problems}")

    def test_one_circle(self) -> None:
        """A circle is told once, whatever the number of its rules; another one is told of, too."""
        one, other = '"a@b.org": b@b.org, "b@b.org": a@b.org', '"c@b.org": d@b.org, "d@b.org": c@b.org'
        self.assertEqual(len(problems_of(with_rule(f"recipients: {{{one}}}"))), 1)
        self.assertEqual(len(problems_of(with_rule(f"recipients: {{{one}, {other}}}"))), 2)

    def test_nothing_changed(self) -> None:
        """A rule without effect is a warning."""
        for rule in ("", 'recipients: {"a@b.org": a@b.org}'):
            self.assertEqual(codes(problems_of(with_rule(rule))), ["CFG-VALUE?"])


class SandboxTests(SynchronousTestCase):
    def test_each_start_tells(self) -> None:
        """That mail does not arrive is said at each start."""
        loaded = load_text(SMALL + 'sandbox: {via: local, allow: ["*@example.com"]}\n')
        [warning] = loaded.warnings
        self.assertEqual(
            warning.text, 'sandbox: all mail but to *@example.com goes to "local" and does not arrive'
        )

    def test_wrong(self) -> None:
        """Its provider must exist, and somebody must be kept out."""
        for settings, what in (
            ("via: locl", 'unknown provider "locl" - did you mean "local"?'),
            ('via: local, allow: ["*"]', "all recipients are allowed: no mail stays"),
            ("allow: []", 'sandbox: "via" is missing'),
        ):
            self.assertEqual([p.text for p in problems_of(SMALL + f"sandbox: {{{settings}}}\n")], [what])
