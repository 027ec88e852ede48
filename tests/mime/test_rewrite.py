"""What the rules of a route make of a header."""

import email
import email.policy
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import Address, addresses, comparison_key
from smtprelay.mime.rewrite import AddressRules, RewriteRule, parameters_of, rewrite_header
from smtprelay.model.address import is_mailbox
from smtprelay.model.shape import count_eight_bit
from tests.mime.hostile import mails

DO_NOT_REPLY = RewriteRule(
    author="DoNotReply@mail.example.com", kept_domains=("mail.example.com",), reply_to="original"
)
MOVED = RewriteRule(recipients=(("old@x.example", "new@x.example"), ("*@old.example", "*@new.example")))
#: One octet of each is a control in a header; ``\x85`` and U+2028 end a line for some.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def rewritten(mail: bytes, *rules: RewriteRule, sender: str = "scan@example.com") -> bytes:
    """Return a mail after all ``rules``, and see to it that the facts about it are right."""
    facts, header = rewrite_header(mail, parameters_of(rules, sender))
    made = header + mail[facts["content"] :] if header else mail
    assert count_eight_bit(made) == count_eight_bit(mail) + facts["grown"]
    return made


def of(mail: bytes, name: str) -> list[str]:
    """Return the values of all fields of a name."""
    parsed = email.message_from_bytes(mail, policy=email.policy.compat32)
    return [" ".join(str(value).split()) for value in parsed.get_all(name, [])]


class AuthorTests(SynchronousTestCase):
    def test_read_otherwise(self) -> None:
        """A From that is kept is written anew if others may read another address in it."""
        kept = "ok@mail.example.com"
        for author in (
            f"evil@bad.example<{kept}>",
            f"evil@bad.example\r\n <{kept}>",
            f'"a" evil@bad.example <{kept}>',
            f"{kept}, group@mail.example.com:evil@bad.example;",
            f"evil@bad.example@mail.example.com, {kept}",
            f"=?utf-8?q?evil=40bad.example,?= {kept}",
            f"{kept}, {'x' * 1001}@bad.example",
            ", ".join([kept] * 10_000 + ["evil@bad.example"]),
        ):
            mail = rewritten(f"From: {author}\r\n\r\nhi\r\n".encode(), DO_NOT_REPLY)
            [made] = email.message_from_bytes(mail, policy=email.policy.default)["from"].addresses[:1]
            self.assertEqual(made.addr_spec, kept, author[:80])
            self.assertNotIn("evil@bad", re.sub(rb'"[^"]*"', b"", mail).decode(), author[:80])
        for author in (f'"a@b, c" <{kept}>', f"Ann <{kept}> (home)", f'"a@b"@mail.example.com, {kept}'):
            mail = f"From: {author}\r\n\r\nhi\r\n".encode()
            self.assertEqual(rewritten(mail, DO_NOT_REPLY), mail)

    def test_replaced(self) -> None:
        """From gets the address of the rule, its name stays, and answers go where they went before."""
        for author, made, answers in (
            (b"scan@example.com", "DoNotReply@mail.example.com", ["scan@example.com"]),
            (b"HP 3F <a@b.org>", "HP 3F <DoNotReply@mail.example.com>", ["HP 3F <a@b.org>"]),
            (b'"Doe, Joe" <a@b.org>', '"Doe, Joe" <DoNotReply@mail.example.com>', ['"Doe, Joe" <a@b.org>']),
            (
                b"=?iso-8859-1?q?J=FCrgen?= <a@b.org>",
                "=?utf-8?q?J=C3=BCrgen?= <DoNotReply@mail.example.com>",
                ["=?utf-8?q?J=C3=BCrgen?= <a@b.org>"],
            ),
            (b"a@b.org, B <b@b.org>", "DoNotReply@mail.example.com", ["a@b.org, B <b@b.org>"]),
            (b"Team: a@b.org, b@b.org;", "DoNotReply@mail.example.com", ["a@b.org, b@b.org"]),
            (b"Scanner 3F", "Scanner 3F <DoNotReply@mail.example.com>", ["scan@example.com"]),
            (b"<>", "DoNotReply@mail.example.com", ["scan@example.com"]),
            (b"", "DoNotReply@mail.example.com", ["scan@example.com"]),
            (b'"a@b.org" <a@b.org>', "DoNotReply@mail.example.com", ['"a@b.org" <a@b.org>']),
        ):
            mail = rewritten(b"From: " + author + b"\r\nSubject: x\r\n\r\nhi\r\n", DO_NOT_REPLY)
            self.assertEqual((of(mail, "From"), of(mail, "Reply-To")), ([made], answers), author)
            self.assertTrue(mail.endswith(b"Subject: x\r\n\r\nhi\r\n"))

    def test_missing(self) -> None:
        """A mail without From, or without any header, gets one."""
        for mail in (b"Subject: x\r\n\r\nhi\r\n", b"hello\r\n", b"\r\nhello\r\n", b""):
            made = rewritten(mail, DO_NOT_REPLY)
            self.assertEqual(of(made, "From"), ["DoNotReply@mail.example.com"], mail)
            self.assertEqual(of(made, "Reply-To"), ["scan@example.com"])
            self.assertEqual(made.partition(b"\r\n\r\n")[2], b"hi\r\n" if b"hi" in mail else mail.lstrip())

    def test_null_sender(self) -> None:
        """A report has no sender that could be answered."""
        mail = rewritten(b"Subject: x\r\n\r\nhi\r\n", DO_NOT_REPLY, sender="")
        self.assertEqual((of(mail, "From"), of(mail, "Reply-To")), (["DoNotReply@mail.example.com"], []))

    def test_kept(self) -> None:
        """A mail of a domain that may send stays as it is, octet for octet."""
        for author in ("Bob  <b@Mail.Example.com>", "donotreply@MAIL.example.com", "b@mail.example.com (x)"):
            mail = f"From: {author}\r\nSender: c@x.org\r\n\r\nhi\r\n".encode()
            self.assertEqual(rewritten(mail, DO_NOT_REPLY), mail)

    def test_one_foreign_author(self) -> None:
        """Of several authors all must be of such a domain."""
        mail = rewritten(b"From: a@mail.example.com, b@b.org\r\n\r\n", DO_NOT_REPLY)
        self.assertEqual(of(mail, "From"), ["DoNotReply@mail.example.com"])

    def test_kept_sender(self) -> None:
        """Where From has no address the envelope's sender counts, and its domain."""
        mail = rewritten(b"From: Scanner\r\n\r\n", DO_NOT_REPLY, sender="scan@mail.example.com")
        self.assertEqual(of(mail, "From"), ["Scanner <scan@mail.example.com>"])

    def test_sender_field(self) -> None:
        """Sender names who sends for another one: where that one is replaced it would tell of it."""
        mail = rewritten(b"Sender: s@x.org\r\nFrom: a@b.org\r\n\r\n", DO_NOT_REPLY)
        self.assertEqual(of(mail, "Sender"), [])

    def test_reply_to(self) -> None:
        """``original`` keeps what is there; ``header`` and ``envelope`` do not; none changes nothing."""
        mail = b"From: A <a@b.org>\r\nReply-To: r@b.org\r\n\r\n"
        for reply_to, answers in (
            ("original", "r@b.org"),
            ("header", "A <a@b.org>"),
            ("envelope", "scan@example.com"),
            ("", "r@b.org"),
        ):
            made = rewritten(mail, RewriteRule(author="d@e.org", reply_to=reply_to))
            self.assertEqual(of(made, "Reply-To"), [answers])
        self.assertEqual(
            of(rewritten(b"From: a@b.org\r\n\r\n", RewriteRule(author="d@e.org")), "Reply-To"), []
        )

    def test_foreign_octets(self) -> None:
        """A name in raw octets is read as the mail's charset has it."""
        mail = b"Content-Type: text/plain; charset=iso-8859-2\r\nFrom: Ji\xf8\xed <a@b.org>\r\n\r\n"
        [author] = addresses(of(rewritten(mail, DO_NOT_REPLY), "From"))
        self.assertEqual(author, Address("DoNotReply@mail.example.com", "Jiří"))

    def test_several_rules(self) -> None:
        """The rule of the user comes first: who answers reaches the one that it names."""
        forced = RewriteRule(author="scan@example.com")
        mail = rewritten(b"From: Boss <boss@example.com>\r\n\r\n", forced, DO_NOT_REPLY)
        self.assertEqual(of(mail, "From"), ["Boss <DoNotReply@mail.example.com>"])
        self.assertEqual(of(mail, "Reply-To"), ["Boss <scan@example.com>"])


class RecipientTests(SynchronousTestCase):
    def test_order(self) -> None:
        """Of patterns the first counts, whether it is for a whole domain or not."""
        for rules, found in (
            ((("*@a.org", "x@x.org"), ("b*@a.org", "y@y.org")), "x@x.org"),
            ((("b*@a.org", "y@y.org"), ("*@a.org", "x@x.org")), "y@y.org"),
            ((("c*@a.org", "y@y.org"), ("*@A.org", "x@x.org"), ("*@a.org", "z@z.org")), "x@x.org"),
            ((("*@b.org", "x@x.org"), ("*@*.org", "z@z.com")), "z@z.com"),
        ):
            self.assertEqual(AddressRules(rules).replaced("b@a.org"), found)

    def test_addresses(self) -> None:
        """An address goes before patterns; what is found is looked for again."""
        rules = AddressRules(
            (
                ("*@old.example", "*@new.example"),
                ("Boss@old.example", "chief@x.example"),
                ("ann@new.example", "bob@x.example"),
                ("*.x@*.y.example", "team@z.example"),
            )
        )
        for address, wanted in (
            ("Joe@OLD.example", "Joe@new.example"),
            ("boss@old.example", "chief@x.example"),
            ("ann@old.example", "bob@x.example"),
            ("a.x@b.y.example", "team@z.example"),
            ("a.x@y.example", "a.x@y.example"),
            ("nobody", "nobody"),
        ):
            self.assertEqual(rules.replaced(address), wanted)

    def test_in_header(self) -> None:
        """To and Cc name those who get the mail, each once; who does not change stays as written."""
        mail = b"From: a@b.org\r\nTo: O <old@x.example>,\r\n\t N <new@x.example>\r\nCc: J <j@old.example>\r\n"
        made = rewritten(mail + b"X-To: old@x.example\r\n\r\n", MOVED)
        self.assertEqual(of(made, "To"), ["O <new@x.example>"])
        self.assertEqual(of(made, "Cc"), ["J <j@new.example>"])
        self.assertEqual(of(made, "X-To"), ["old@x.example"])
        same = b"From: a@b.org\r\nTo: N  <new@x.example> ,\r\n\t A: b@x.example;\r\n\r\n"
        self.assertEqual(rewritten(same, MOVED), same)

    def test_nobody_left(self) -> None:
        """A field whose address is none after a rule names nobody, as a field may: its value is not empty."""
        made = rewritten(b"From: a@b.org\r\nTo: <Undisclosed:@old.example;>\r\n\r\n", MOVED)
        self.assertEqual(of(made, "To"), ["undisclosed-recipients:;"])


class FieldTests(SynchronousTestCase):
    def test_added_and_removed(self) -> None:
        """A field that is added is the only one of its name; one that is removed is gone everywhere."""
        rule = RewriteRule(added=(("X-Relay", "one  two"), ("X-Who", "Jürgen")), removed=("x-mailer",))
        mail = b"X-Relay: forged\r\nFrom: a@b.org\r\nX-Mailer: m\r\nx-relay: again\r\nX-MAILER: n\r\n\r\nhi"
        self.assertEqual(
            rewritten(mail, rule),
            b"From: a@b.org\r\nX-Relay: one  two\r\nX-Who: =?utf-8?q?J=C3=BCrgen?=\r\n\r\nhi",
        )

    def test_nothing_to_do(self) -> None:
        """A header that no rule is about stays octet for octet, also one with lines that are no fields."""
        for mail in (b"From: a@b.org\r\nwhat is this\r\nTo: b@b.org\r\n\r\nhi", b"no header\r\n"):
            self.assertEqual(rewritten(mail, MOVED), mail)


ADDRESS = st.sampled_from(
    (
        *("old@x.example", "new@x.example", "j@old.example", "J@OLD.example", "a@mail.example.com"),
        *('"a b"@old.example', "jü@old.example", "a@bücher.example", "root", "@", "a@b@old.example"),
    )
)
NAME = st.one_of(
    st.text(max_size=80),
    st.sampled_from(("", "A, B", "=?utf-8?q?a?=", "x" * 300, "a@b.org", 'q"\\', "\x85", "a\r\nX-Bad: 1")),
)
PERSON = st.builds(
    lambda name, address, form: form.format(name, address),
    NAME,
    ADDRESS,
    st.sampled_from(("{1}", "{0} <{1}>", '"{0}" <{1}>', "{0}: {1};", "{1} ({0})", "{0}")),
)
FIELD = st.builds(
    lambda name, people: f"{name}: {', '.join(people)}\r\n".encode("utf-8", "surrogateescape"),
    st.sampled_from(("From", "To", "Cc", "Reply-To", "Sender", "X-Mailer", "X-Relay", "Subject", "to")),
    st.lists(PERSON, max_size=4),
)
RULE = st.builds(
    RewriteRule,
    author=st.sampled_from(("", "DoNotReply@mail.example.com", "d@bücher.example", "new@x.example")),
    kept_domains=st.sampled_from(((), ("mail.example.com",), ("bücher.example",))),
    reply_to=st.sampled_from(("", "original", "header", "envelope")),
    recipients=st.sampled_from(((), MOVED.recipients, (("*", "new@x.example"),))),
    added=st.lists(st.tuples(st.sampled_from(("X-Relay", "Subject")), st.text(max_size=60)), max_size=2),
    removed=st.sampled_from(((), ("X-Mailer",), ("Reply-To", "To"))),
)
# A configuration that removes what it sets is refused.
RULE = RULE.filter(lambda rule: not (rule.reply_to and "Reply-To" in rule.removed))
#: Those of users, which come first, have no more than an author.
RULES = st.one_of(
    st.tuples(RULE), st.tuples(st.builds(RewriteRule, author=st.just("scan@example.com")), RULE)
)
MAIL = st.one_of(
    st.binary(max_size=300),
    mails(),
    st.lists(FIELD, max_size=8).map(lambda fields: b"".join([*fields, b"\r\nhi"])),
)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=80, deadline=None)
    @given(MAIL, RULES, st.sampled_from(("", "root", "scan@example.com")))
    @example(b"From: a\r\nX-Bad: 1 <a@b.org>\r\n\r\n", (DO_NOT_REPLY,), "scan@example.com")
    def test_twice(self, mail: bytes, rules: tuple[RewriteRule, ...], sender: str) -> None:
        """To rewrite twice is to rewrite once."""
        once = rewritten(mail, *rules, sender=sender)
        self.assertEqual(rewritten(once, *rules, sender=sender), once)

    @settings(max_examples=80, deadline=None)
    @given(st.lists(PERSON, max_size=5), RULE, NAME)
    def test_no_control(self, people: list[str], rule: RewriteRule, value: str) -> None:
        """Whatever stands in names and values, no control gets into a field that is written, and no line."""
        line = ", ".join(people).replace("\r", " ").replace("\n", " ").encode("utf-8", "replace")
        mail = b"From: " + line + b"\r\nTo: " + line + b"\r\nSubject: x\r\n\r\n"
        rules = (rule, RewriteRule(added=(("X-Value", value),)))
        header, _, _ = rewritten(mail, *rules).partition(b"\r\n\r\n")
        kept = set(mail.split(b"\r\n"))
        for written in header.split(b"\r\n"):
            if written not in kept:
                self.assertNotRegex(written.decode("utf-8"), CONTROLS)
                self.assertRegex(
                    written, rb"(?i)\A(?:(?:from|to|cc|reply-to|subject|x-relay|x-value):|[ \t])"
                )

    @settings(max_examples=60, deadline=None)
    @given(st.lists(ADDRESS, max_size=6))
    def test_each_recipient_once(self, named: list[str]) -> None:
        """A field with a recipient that was replaced names all that it named, by who gets the mail, once."""
        mail = f"From: a@b.org\r\nTo: {', '.join(named)}\r\n\r\n".encode()
        before = [each.address for each in addresses([mail.splitlines()[1][4:].decode()])]
        after = [MOVED.address_rules.replaced(each) for each in before]
        unfolded = rewritten(mail, MOVED).replace(b"\r\n ", b" ")
        found = [each.address for each in addresses([unfolded.splitlines()[1][4:].decode()])]
        if after == before:
            self.assertEqual(found, before)
        else:
            keys = [comparison_key(each) for each in found]
            self.assertEqual(
                keys, list(dict.fromkeys(comparison_key(each) for each in after if is_mailbox(each)))
            )
