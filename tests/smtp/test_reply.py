"""Replies on the wire."""

import ast
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message import Reply
from smtprelay.smtp import reply
from smtprelay.smtp.reply import OK, render


def rendered(text: str, enhanced: str = "5.0.0") -> bytes:
    return render(Reply(code=550, enhanced=enhanced, text=text))


#: A reply of each function that makes one.
MADE = (
    reply.too_many_recipients(1),
    reply.too_many_connections(1),
    reply.too_many_from_client(1),
    reply.too_large(1),
    reply.too_large(1, "acs"),
    reply.too_large(1, reply.ROUTES),
    reply.header_too_large(1),
    reply.too_many_hops(1),
    reply.not_ready("x"),
)


class EnhancedCodes(SynchronousTestCase):
    """RFC 2034 §3 and §4: all replies but the greeting, that to EHLO, and those that ask for more."""

    def test_ours(self):
        """Each reply of the table has one of the class of its code."""
        table = [each for each in vars(reply).values() if isinstance(each, Reply)]
        self.assertGreater(len(table), 30)
        for each in (*table, *MADE):
            form = "" if each.code // 100 == 3 else rf"{each.code // 100}\.\d{{1,3}}\.\d{{1,3}}"
            self.assertRegex(each.enhanced, f"^{form}$", each)

    def test_all_functions(self):
        """No function that makes a negative reply is missing here."""
        functions = {name: getattr(each, "__annotations__", {}) for name, each in vars(reply).items()}
        made = {name for name, types in functions.items() if types.get("return") is Reply}
        names = {"too_many_recipients", "too_many_connections", "too_many_from_client", "too_large"}
        names |= {"header_too_large", "too_many_hops", "not_ready"}
        self.assertEqual(made - {"_reply", "not_sent", "welcome", "challenge"}, names)

    def test_those_of_other_stations(self):
        """Wherever a reply is made its enhanced code fits; without one are the greeting and that to EHLO."""
        root, without = Path(reply.__file__).parents[1], []
        for path in sorted(root.rglob("*.py")):
            source = path.read_text()
            for node in ast.walk(ast.parse(source)) if "eply(" in source else ():
                if not isinstance(node, ast.Call) or getattr(node.func, "id", "") not in ("Reply", "_reply"):
                    continue
                words = {word.arg: word.value for word in node.keywords}
                words |= dict(zip(("code", "enhanced"), node.args, strict=False))
                code, enhanced = (getattr(words.get(name), "value", None) for name in ("code", "enhanced"))
                if enhanced == "" and code not in (0, 334, 354):
                    without.append((path.name, code))
                elif enhanced and code:
                    self.assertEqual(enhanced[0], str(code)[0], (path, code, enhanced))
        self.assertEqual(without, [("extensions.py", 250), ("reply.py", 220)])


class Rendering(SynchronousTestCase):
    def test_one_line(self):
        """Code, enhanced code and text stand in one line; without an enhanced code, two of them."""
        self.assertEqual(render(OK), b"250 2.0.0 Ok\r\n")
        self.assertEqual(rendered("no", ""), b"550 no\r\n")

    def test_several_lines(self):
        """Each line of a text has its code, and all but the last a hyphen."""
        self.assertEqual(rendered("a\nb"), b"550-5.0.0 a\r\n550 5.0.0 b\r\n")

    def test_nothing_to_say(self):
        """An empty text is still a reply."""
        self.assertEqual(rendered("", ""), b"550 \r\n")

    def test_foreign_text(self):
        """Text from elsewhere cannot begin a reply of its own, nor be what the wire cannot carry."""
        self.assertEqual(rendered("a\r\n250 Ok"), b"550-5.0.0 a\r\n550 5.0.0 250 Ok\r\n")
        self.assertEqual(rendered("zu groß\x00\x1b"), b"550 5.0.0 zu gro???\r\n")

    def test_endless_text(self):
        """Of a text as long as a web page the first lines are said."""
        for text in ("x" * 1_000_000, "word " * 200_000, "a\n" * 500_000):
            written = rendered(text)
            self.assertLess(len(written), 40_000)
            self.assertTrue(written.splitlines()[-1].startswith(b"550 5.0.0 "))

    @given(st.text(max_size=2000))
    def test_any_text(self, text: str):
        """Whatever the text, each line is short, printable, and has the code."""
        lines = rendered(text).split(b"\r\n")
        self.assertEqual(lines.pop(), b"")
        for number, line in enumerate(lines, 1):
            self.assertTrue(line.startswith(b"550 5.0.0 " if number == len(lines) else b"550-5.0.0 "))
            self.assertTrue(line.decode("ascii").isprintable())
            self.assertLessEqual(len(line), 510)
