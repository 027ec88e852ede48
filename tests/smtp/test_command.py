"""Command lines: what is understood, what is refused, and with which reply."""

import contextlib
import re
from time import process_time

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Refused
from smtprelay.smtp.command import LONGEST_SHOWN, VERBS, Command, command_shown, parse, split, understand


def read(line: bytes) -> Command:
    return understand(line)


#: Nothing could ever be delivered to them, whatever servers there are.
UNDELIVERABLE = (
    b"a..b@x.test",
    b".a@x.test",
    b"a.@x.test",
    b".@x.test",
    b"a@[999.1.1.1]",
    b"a@[1.2.3]",
    b"a@[1.2.3.4.5]",
    b"a@[01.2.3.4]",
    b"a@[]",
    b"a@[x.test]",
    b"a@[IPv6:2001:db8::1::2]",
    b"a@[IPv6:192.0.2.1]",
    b"a@[2001:db8::1]",
    b"a@-x.com",
    b"a@x-.com",
    b"a@x.-com",
    b"a@x.com-",
    b"a@.x.com",
    b"a@x..com",
    b"a@" + b"x" * 64 + b".com",
    b"a@" + b".".join([b"x" * 60] * 4) + b".verylongx.com",
)
DELIVERABLE = (
    b"a.b.c@x.test",
    b"o'neill+tag={x}@x.test",
    b'"a..b"@x.test',
    b'".a"@x.test',
    b'""@x.test',
    b"a@my_printer._domainkey.x.test",
    b"a@x--y.test",
    b"a@3com.com",
    b"a@nas",
    b"a@xn--bcher-kva.example",
    b"a@" + b"x" * 63 + b".com",
    b"a@" + b".".join([b"x" * 60] * 4) + b".longlong",
    b"x" * 150 + b"@x.test",
    b"x" * 1500 + b"@x.test",
    b'"' + b"x" * 200 + b'"@x.test',
    b"a@[192.0.2.1]",
    b"a@[IPv6:2001:db8::1]",
    b"a@[ipv6:::ffff:192.0.2.1]",
)


class Understood(SynchronousTestCase):
    def test_addresses_that_mail_may_be_delivered_to(self):
        """What is unusual and possible is understood, for the sender and the recipient."""
        for address in DELIVERABLE:
            for command in (b"MAIL FROM:<%b>", b"RCPT TO:<%b>"):
                self.assertEqual(read(command % address).argument, address.decode(), address)

    def test_sender_and_recipient_forms(self):
        """The forms of RFC 5321, and the careless ones of devices, give the same address."""
        for line, address in [
            (b"MAIL FROM:<a@b.test>", "a@b.test"),
            (b"mail from:<a@b.test>", "a@b.test"),
            (b"MAIL FROM: <a@b.test>", "a@b.test"),
            (b"MAIL FROM:  <a@b.test>  ", "a@b.test"),
            (b"MAIL\tFROM:\t<a@b.test>\t", "a@b.test"),
            (b"MAIL FROM:a@b.test", "a@b.test"),
            (b"MAIL FROM:\ta@b.test", "a@b.test"),
            (b"MAIL FROM: a@b.test", "a@b.test"),
            (b"MAIL FROM:<>", ""),
            (b"MAIL FROM:<scanner>", "scanner"),
            (b"RCPT TO:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
            (b"RCPT TO:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
            (b"RCPT TO:<Postmaster>", "Postmaster"),
            (b"MAIL FROM:<@one.test,@two.test:joe@three.test>", "joe@three.test"),
            (b"RCPT TO:<@one.test,@two.test:joe@three.test>", "@one.test,@two.test:joe@three.test"),
            (b'RCPT TO:<"a b>@c"@d.test>', '"a b>@c"@d.test'),
            (b"RCPT TO:<user%dom@us.test>", "user%dom@us.test"),
            (b"RCPT TO:<dom!user@us.test>", "dom!user@us.test"),
        ]:
            self.assertEqual(read(line).argument, address, line)

    def test_the_one_mailbox(self):
        """Blanks, a display name, brackets within brackets and one dot behind it are not the address."""
        for form in (
            b"<a@b.test>",
            b"< a@b.test >",
            b"<\ta@b.test\t>",
            b"Name <a@b.test>",
            b"Name<a@b.test>",
            b"Old Printer (3rd floor) <a@b.test>",
            b'"Printer, <old> c@d.test" <a@b.test>',
            "Büro <a@b.test>".encode(),
            "Büro <a@b.test>".encode("latin-1"),
            b"<Name <a@b.test>>",
            b"<Name < a@b.test > >",
            b"<<a@b.test>>",
            b"<a@b.test>>",
            b"a@b.test>",
            b"<a@b.test.>",
            b"a@b.test.",
            b"Name <a@b.test.>",
        ):
            for command in (b"MAIL FROM:", b"MAIL FROM: ", b"RCPT TO:", b"RCPT TO:\t"):
                self.assertEqual(read(command + form).argument, "a@b.test", form)
            for blanks in (b" ", b"\t", b" \t "):
                command = read(b"MAIL FROM:" + form + blanks + b"SIZE=1" + blanks + b"BODY=7BIT")
                self.assertEqual(command.parameters, {"SIZE": "1", "BODY": "7BIT"}, form)
        for form in (b"<>", b"< >", b"<\t>", b"Name <>", b"<<>>"):
            self.assertEqual(read(b"MAIL FROM:" + form).argument, "")
        self.assertEqual(read(b"MAIL FROM:<@one.test,@two.test:a@b.test.>").argument, "a@b.test")
        self.assertEqual(read(b'RCPT TO:Name <"a b"@c.test>').argument, '"a b"@c.test')

    def test_parameters(self):
        """Parameters have upper-case keys; one without value is empty; BODY and RET are in upper case."""
        command = read(b"MAIL FROM:<a@b.test> size=100 BODY=8bitmime SMTPUTF8 ret=Hdrs ENVID=aB")
        self.assertEqual(
            command.parameters,
            {"SIZE": "100", "BODY": "8BITMIME", "SMTPUTF8": "", "RET": "HDRS", "ENVID": "aB"},
        )

    def test_nobody_can_change_what_is_remembered(self):
        """A line is read once for all who send it; a login is never kept."""
        for line in (b"MAIL FROM:<a@b.test> SIZE=1", b"RCPT TO:<a@b.test>", b"MAIL FROM:<> BODY=7bit"):
            self.assertIs(read(line), read(line))
            with self.assertRaises(TypeError):
                read(line).parameters["SIZE"] = "2"  # type: ignore[index]
        self.assertIsNot(read(b"auth PLAIN AGEAYg=="), read(b"auth PLAIN AGEAYg=="))

    def test_parameters_behind_a_bare_path(self):
        """A path without brackets may be followed by parameters."""
        command = read(b"MAIL FROM:a@b.test SIZE=100")
        self.assertEqual((command.argument, command.parameters), ("a@b.test", {"SIZE": "100"}))

    def test_hello(self):
        """The name of EHLO is its first word; what a device puts behind it is dropped."""
        self.assertEqual(read(b"EHLO printer.test").argument, "printer.test")
        self.assertEqual(read(b"ehlo [192.0.2.1]").argument, "[192.0.2.1]")
        self.assertEqual(read(b"HELO MFP Office 3").argument, "MFP")
        self.assertEqual(read(b"HELO\tMFP\tOffice").argument, "MFP")

    def test_no_hello_is_refused(self):
        """Whatever a client calls itself, or if it does not: what cannot be printed is masked."""
        for name, masked in [
            (b"", ""),
            (b" ", ""),
            ("büro-pc".encode(), "b??ro-pc"),
            ("büro-pc".encode("latin-1"), "b?ro-pc"),
            (b"my_printer", "my_printer"),
            (b"-", "-"),
            (b"a\0\x1b[31m\x7f", "a??[31m?"),
            (b"<a@b.test>", "<a@b.test>"),
            (b"[999.1.1.1", "[999.1.1.1"),
            (b"x" * 2000, "x" * 255),
        ]:
            for verb in (b"EHLO ", b"HELO "):
                self.assertEqual(read(verb + name).argument, masked, name)
        self.assertEqual((read(b"EHLO").argument, read(b"helo").argument), ("", ""))

    def test_trailing_spaces(self):
        """Spaces behind a command without arguments are nothing."""
        self.assertEqual(read(b"DATA  ").verb, "DATA")
        self.assertEqual(read(b"quit").verb, "QUIT")

    def test_secrets_are_not_shown(self):
        """What follows AUTH does not appear in the representation of the command."""
        self.assertNotIn("AGpvZQBwdw", repr(read(b"AUTH PLAIN AGpvZQBwdw==")))


class RefusedLines(SynchronousTestCase):
    def check(self, line: bytes, code: int, enhanced: str) -> None:
        refusal = self.assertRaises(Refused, read, line).reply
        self.assertEqual((refusal.code, refusal.enhanced), (code, enhanced), line)

    def test_unknown_verbs(self):
        """What is no verb of ours is 500, whatever its octets."""
        for line in (
            b"",
            b"FOO",
            b"BURL imap:x",
            b"\xe4\xf6\xfc",
            b"MAIL\x00 FROM:<a@b.test>",
            b" EHLO x",
            b"M4IL",
        ):
            self.check(line, 500, "5.5.1")

    def test_control_characters(self):
        """A control character anywhere makes the command 500: no header line can be smuggled in."""
        for octet in {*range(32), 127} - {ord("\t")}:
            for form in (
                b"<a%cX-Pwned: y@b.test>",
                b"<a@b.test>%c",
                b"Name%c <a@b.test>",
                b"<a@b.test> SIZE=1%c",
            ):
                self.check(b"MAIL FROM:" + form % octet, 500, "5.5.2")
                self.check(b"RCPT TO:" + form % octet, 500, "5.5.2")
        self.check(b"EHLO a\rMAIL FROM:<>", 500, "5.5.2")

    def test_tabs(self):
        """A tab is a blank between words, and nothing in an address."""
        for form in (
            b"<a\tX-Pwned: y@b.test>",
            b"<a\tb@c.test>",
            b'<"a\tb"@c.test>',
            b'<"a\\\tb"@c.test>',
            b"a\tb@c.test",
        ):
            self.check(b"MAIL FROM:" + form, 501, "5.5.4")
            self.check(b"RCPT TO:" + form, 501, "5.5.4")

    def test_not_ascii(self):
        """An address in another charset than UTF-8 is 553 5.6.7; only MAIL and RCPT may have any."""
        for octets in (b"\xfc", b"\xc0\xaf", b"\xff", b"\xed\xa0\x80"):
            self.check(b"MAIL FROM:<" + octets + b"@b.test>", 553, "5.6.7")
            self.check(b"RCPT TO:<a@" + octets + b".test>", 553, "5.6.7")
            self.check(b"MAIL FROM:<a@b.test> ENVID=" + octets, 501, "5.5.4")
            self.check(b"MAIL FROM:<a@b.test> SIZE=1" + octets + b"BODY=7BIT", 501, "5.5.4")
            self.check(b"DATA " + octets, 501, "5.5.4")
        self.check("DATA ü".encode(), 501, "5.5.4")

    def test_no_address(self):
        """What cannot be seen, or is no letter, is in no address, and no domain."""
        for text in ("\u2028", "\u0085", "a\u00a0b", "\u202eb", "\ufeff"):
            self.check(f"MAIL FROM:<{text}@b.test>".encode(), 553, "5.1.7")
            self.check(f"RCPT TO:<a@{text}.test>".encode(), 553, "5.1.3")

    def test_international(self):
        """A local part is taken as it is, a domain in UTF-8 as the one in ASCII that it stands for."""
        for wire, taken in (
            ("jürg@example.com", "jürg@example.com"),
            ("jürg@Bücher.example", "jürg@xn--bcher-kva.example"),
            ("a@bücher.example.", "a@xn--bcher-kva.example"),
            ("用户@例え.テスト", "用户@xn--r8jz45g.xn--zckzah"),
            ('"a ü"@b.test', '"a ü"@b.test'),
        ):
            for form in ("MAIL FROM:<%s>", "RCPT TO:<%s>", "RCPT TO: Jürg <%s>"):
                self.assertEqual(read((form % wire).encode()).argument, taken)
        self.assertEqual(read("RCPT TO:<@one.test:ü@b.example>".encode()).argument, "@one.test:ü@b.example")

    def test_original_recipient(self):
        """ORCPT in UTF-8 becomes ASCII (RFC 6533 §3); of an unknown kind it stays what it is: wrong."""
        for wire, taken in (
            ("utf-8;jürg@例.test", "utf-8;j\\x{FC}rg@\\x{4F8B}.test"),
            ("UTF-8;a@b.test", "UTF-8;a@b.test"),
            ("rfc822;jürg@b.test", "utf-8;j\\x{FC}rg@b.test"),
            ("rfc822;j+C3+BCrg+2B@b.test", "utf-8;j\\x{FC}rg+2B@b.test"),
            ("rfc822;j+FCrg@b.test", "rfc822;j+FCrg@b.test"),
            ("x400;jürg", "x400;jürg"),
        ):
            command = read(f"RCPT TO:<a@b.test> ORCPT={wire}".encode())
            self.assertEqual(command.parameters, {"ORCPT": taken})

    def test_syntax(self):
        """What does not have the form of its command is 501."""
        for line in (
            b"MAIL",
            b"MAIL FROM",
            b"MAIL FROM:",
            b"MAIL TO:<a@b.test>",
            b"MAIL FROM:<a@b.test",
            b"MAIL FROM:<a@b.test>SIZE=1",
            b"MAIL FROM:<<<a@b.test>>>",
            b"MAIL FROM:<<a@b.test>",
            b"MAIL FROM:Name <a@b.test",
            b"MAIL FROM:a@b.test>>",
            b"MAIL FROM:<a@b.test> <c@d.test>",
            b"MAIL FROM:<a@b.test>, <c@d.test>",
            b"MAIL FROM:<a@b.test <c@d.test>>",
            b"MAIL FROM:a@b.test <c@d.test>",
            b"MAIL FROM:a@b.test, Name <c@d.test>",
            b"MAIL FROM:group: <a@b.test>;",
            b"MAIL FROM:<@one.test:<a@b.test>>",
            b'MAIL FROM:"Name <a@b.test>',
            b"MAIL FROM:Name a@b.test",
            b"MAIL FROM:Name\\ <a@b.test>",
            b"MAIL FROM:<a@b.test> SIZE=",
            b"MAIL FROM:<a@b.test> =1",
            b"MAIL FROM:<a@b.test> SIZE=1 SIZE=2",
            b"MAIL FROM:<a b@c.test>",
            b"RCPT TO:",
            b"RCPT FROM:<a@b.test>",
            b"DATA now",
            b"QUIT x",
            b"STARTTLS x",
        ):
            self.check(line, 501, "5.5.4")

    def test_addresses_that_two_programs_could_read_differently(self):
        """An address that is not one by RFC 5321 is 553, for the sender and the recipient."""
        for address in (
            b"a@b@c.test",
            b"@b.test",
            b"a@",
            b"a@b..test",
            b"a@b.test..",
            b"a@[192.0.2.1]..",
            b"a@.",
            b"a,c@b.test",
            b"a(c)@b.test",
            b'"a@b.test',
            b"a@[b",
            b"a:b@c.test",
            b"@one.test:",
            *UNDELIVERABLE,
        ):
            if address.startswith(b'"'):
                self.check(b"MAIL FROM:<" + address + b">", 501, "5.5.4")
            else:
                self.check(b"MAIL FROM:<" + address + b">", 553, "5.1.7")
                self.check(b"RCPT TO:<" + address + b">", 553, "5.1.3")

    def test_a_number_is_no_domain(self):
        """No mail goes to an address without its brackets; a device may call itself so."""
        for domain in (b"192.0.2.1", b"999", b"x.7"):
            self.check(b"RCPT TO:<a@" + domain + b">", 553, "5.1.3")
            self.assertEqual(read(b"MAIL FROM:<a@" + domain + b">").argument, f"a@{domain.decode()}")

    def test_recipient_without_domain(self):
        """Only the postmaster needs no domain; and nobody is no recipient."""
        for path in (b"root", b"root.", b"@one.test:root", b"@one.test:postmaster"):
            self.check(b"RCPT TO:<%b>" % path, 553, "5.1.3")
        self.check(b"RCPT TO:<>", 553, "5.1.3")

    def test_a_long_line_takes_no_longer(self):
        """What a line costs grows with its length, whatever is in it."""
        for piece in (
            b" ",
            b"\t",
            b"a ",
            b'"',
            b'"a"',
            b"<",
            b"a <",
            b"< ",
            b'"\\a',
            b"> ",
            b"@a,",
            b'a"b" ',
        ):
            for start in (b"MAIL FROM:", b"MAIL FROM:<", b"MAIL FROM:<a", b'MAIL FROM:"', b"MAIL FROM: <  "):
                spent = [self.spent(start + piece * count + b"x") for count in (2_000, 20_000)]
                self.assertLess(spent[1], 40 * max(spent[0], 0.001), (start, piece))

    def spent(self, line: bytes) -> float:
        """Return the seconds of CPU that reading ``line`` takes, at best."""
        best = 1.0
        for _ in range(3):
            began = process_time()
            with contextlib.suppress(Refused):
                parse(*split(line))
            best = min(best, process_time() - began)
        return best

    @given(st.binary(max_size=80), st.sampled_from(sorted(VERBS)))
    def test_anything(self, rest: bytes, verb: str):
        """Whatever octets follow a verb, the answer is a command of printable ASCII or a 5xx."""
        try:
            command = parse(verb, rest)
        except Refused as refused:
            self.assertIn(refused.reply.code, range(500, 600))
        else:
            words = [command.argument, *command.parameters, *command.parameters.values()]
            self.assertTrue(all(word.isascii() and word.isprintable() for word in words))


#: The lines that are shown with what is in them: a path and its parameters, or one name.
SHOWN = re.compile(
    rb"(MAIL +FROM|RCPT +TO): *<([^<>]*>( +(SIZE=[^ ]*|[A-Z0-9-]+))*|[^<>\s]*)|(EHLO|HELO) +[^ ]+ *",
    re.IGNORECASE,
)

SECRET = b"opensesame"
BEGINNINGS = st.sampled_from([*(verb.encode() for verb in sorted(VERBS)), b"MAIL FROM:", b"RCPT TO:<", b""])
WORDS = st.sampled_from(
    b"AUTH EHLO FROM: TO: <a@b.test> < > PLAIN LOGIN PASS SIZE=1 AUTHPLAIN = * \t".split(b" ")
)


class ShownTests(SynchronousTestCase):
    """What an operator may see of a line."""

    def test_what_is_shown(self) -> None:
        """Envelopes and names as they came, cut and printable; of AUTH the mechanism; of others the verb."""
        for line, shown in (
            (b"MAIL FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> SIZE=1"),
            (
                b"MAIL FROM:<a@b> ret=HDRS SMTPUTF8 AUTH=<> ENVID=7",
                "MAIL FROM:<a@b> ret=HDRS SMTPUTF8 AUTH=<> ENVID=7",
            ),
            (b"MAIL FROM:<a@b> PASS=secret SIZE=1 AUTH=ann", "MAIL FROM:<a@b> PASS SIZE=1 AUTH"),
            (b"MAIL FROM:<a@b> AHUAcA==", "MAIL FROM:<a@b>"),
            (b"RCPT TO:<a@b> NOTIFY=NEVER\rsecret", "RCPT TO:<a@b> NOTIFY=NEVER"),
            (b"EHLO printer\rsecret", "EHLO"),
            (b"ehlo b\xc3\xbcro", "ehlo b\xfcro"),
            (b"RCPT TO:<a\x07b>", "RCPT TO:<a?b>"),
            (b"AUTH PLAIN AHUAcA==", "AUTH PLAIN"),
            (b"AUTH AHUAcA==", "AUTH"),
            (b"AUTH PLAINTEXT", "AUTH"),
            (b"Mail from John: the salary of Ann is 5000", "MAIL"),
            (b"rcpt to: nobody in particular", "RCPT"),
            (b"MAIL FROM:<a@b> SIZE=1 and the salary", "MAIL FROM:<a@b> SIZE=1"),
            (b"mail from:<a@b", "mail from:<a@b"),
            (b"mail from:<a@b the salary", "MAIL"),
            (b"Helo dear Ann", "HELO"),
            (b"EHLO AUTH PLAIN AHUAcA==", "EHLO"),
            (b"NOOP AUTH PLAIN AHUAcA==", "NOOP"),
            (b"QUIT mypassword", "QUIT"),
            (b"VRFY ann", "VRFY"),
            (b"mypassword", "unknown command of 10 octets"),
            (b"PASS secret", "unknown command of 11 octets"),
            (b"AUTHPLAIN AHUAcA==", "unknown command of 18 octets"),
            (b"\tAUTH PLAIN AHUAcA==", "unknown command of 20 octets"),
            (b"\x00\x01", "unknown command of 2 octets"),
        ):
            self.assertEqual(command_shown(line), shown)
        self.assertEqual(len(command_shown(b"RCPT TO:<" + b"x" * 5000)), LONGEST_SHOWN)

    @given(
        BEGINNINGS,
        st.lists(st.one_of(WORDS, st.binary(max_size=9)), max_size=4),
        st.integers(0, 5),
        st.sampled_from([b"", b" "]),
    )
    def test_secrets(self, beginning: bytes, more: list[bytes], place: int, blank: bytes) -> None:
        """A secret is never shown, wherever it is in a line, but in a path or as the one name of a hello."""
        words = [beginning, *more]
        line = blank.join([*words[:place], SECRET, *words[place:]])
        assume(not SHOWN.fullmatch(line))
        shown = command_shown(line)
        if SECRET.decode() in shown:
            self.assertTrue(SHOWN.fullmatch(shown.encode()), shown)

    @given(st.binary(max_size=400))
    def test_any_line(self, line: bytes) -> None:
        """Whatever comes, it is short and on one line."""
        shown = command_shown(line)
        self.assertLessEqual(len(shown), LONGEST_SHOWN)
        self.assertTrue(shown.isprintable())
