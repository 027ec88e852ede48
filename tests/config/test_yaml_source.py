from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.tree import Items, Scalar, Table
from smtprelay.config.yaml_source import MAXIMUM_BYTES, MAXIMUM_DEPTH, parse
from tests.config.loading import told


def words(text: str) -> dict[str, str]:
    """Return the words of a flat map."""
    root = parse(text.encode(), "f", {}).root
    return {key: node.text for key, node in root.items() if isinstance(node, Scalar)}


class ReadingTests(SynchronousTestCase):
    def test_words_stay_words(self) -> None:
        """YAML 1.1's booleans, octals and base-60 numbers mean nothing by themselves."""
        text = "a: off\nb: yes\nc: 10:30\nd: 0123\ne: 1e3\nf: 2027-01-03\n"
        expected = {"a": "off", "b": "yes", "c": "10:30", "d": "0123", "e": "1e3", "f": "2027-01-03"}
        self.assertEqual(words(text), expected)

    def test_places(self) -> None:
        """Every node and every key knows its line and column, and its name for people."""
        root = parse(b"a:\n  - x\n  - {k: v}\n", "f", {}).root
        items = root["a"]
        assert isinstance(items, Items)
        table = items[1]
        assert isinstance(table, Table)
        self.assertEqual((items[0].mark.line, items[0].mark.column, items[0].where), (2, 5, "a[0]"))
        self.assertEqual((table.key_marks["k"].line, table.key_marks["k"].column), (3, 6))
        self.assertEqual((table["k"].mark.column, table["k"].where), (9, "a[1].k"))

    def test_null_is_only_a_plain_word(self) -> None:
        """An empty value, ~ and null are nothing; the quoted word "null" is a word."""
        root = parse(b'a:\nb: ~\nc: null\nd: "null"\ne: nil\n', "f", {}).root
        nulls = {key: node.null for key, node in root.items() if isinstance(node, Scalar)}
        self.assertEqual(nulls, {"a": True, "b": True, "c": True, "d": False, "e": False})

    def test_byte_order_mark(self) -> None:
        """A UTF-8 byte order mark belongs to no key."""
        source = parse(b"\xef\xbb\xbfa: 1\n", "f", {})
        self.assertEqual((list(source.root), source.problems), (["a"], []))

    def test_empty(self) -> None:
        """An empty file, one of comments only, and "null" are maps without keys."""
        for content in (b"", b"# nothing\n", b"---\n", b"null\n"):
            source = parse(content, "f", {})
            self.assertEqual((dict(source.root), source.problems, source.broken), ({}, [], False))


class RefusingTests(SynchronousTestCase):
    def assert_broken(self, content: bytes, expected: str) -> None:
        """The file cannot be read, for one reason at one place."""
        source = parse(content, "f", {})
        self.assertTrue(source.broken)
        self.assertEqual(told(source.problems), [expected])

    def test_duplicate_keys(self) -> None:
        """A key twice in one map is an error at the second; all of them are told."""
        problems = parse(b"a: 1\nb: {c: 1, c: 2}\na: 2\n", "f", {}).problems
        expected = [
            '2:11 CFG-DUPLICATE-KEY "c" is given twice, first in line 2',
            '3:1 CFG-DUPLICATE-KEY "a" is given twice, first in line 1',
        ]
        self.assertEqual(told(problems), expected)

    def test_tab(self) -> None:
        """A tab as indentation is named in plain words."""
        self.assert_broken(b"a:\n\tb: 1\n", "2:1 CFG-SYNTAX a tab cannot indent YAML: use spaces")

    def test_aliases(self) -> None:
        """An alias is refused where it stands, also one that contains itself."""
        self.assert_broken(
            b"a: &x [1]\nb: *x\n", "2:4 CFG-SYNTAX aliases (*x) are not used here: write the value out"
        )
        self.assert_broken(
            b"a: &x [*x]\n", "1:8 CFG-SYNTAX aliases (*x) are not used here: write the value out"
        )

    def test_tags(self) -> None:
        """A tag is refused, whatever it asks for."""
        self.assert_broken(
            b"a: !!python/object:os.system x\n", "1:4 CFG-SYNTAX tags (!\u2026) are not used here"
        )
        for tag in (b"!!int", b"!", b"!x"):
            self.assert_broken(b"a: " + tag + b" 3\n", "1:4 CFG-SYNTAX tags (!…) are not used here")

    def test_depth(self) -> None:
        """Nesting deeper than any setting is refused, thousands of levels too."""
        for levels in (MAXIMUM_DEPTH, 20_000):
            content = b"a: " + b"[" * levels + b"]" * levels
            expected = f"1:{3 + MAXIMUM_DEPTH} CFG-SYNTAX nested deeper than {MAXIMUM_DEPTH} levels"
            self.assert_broken(content, expected)

    def test_not_utf8(self) -> None:
        """The first byte that is no UTF-8 is named with its place."""
        self.assert_broken(
            b"a: 1\nb: caf\xe9 x\n", "2:7 CFG-SYNTAX not UTF-8: invalid continuation byte (byte 0xe9)"
        )

    def test_unprintable(self) -> None:
        """A control character is an error, written out or as an escape."""
        self.assert_broken(b"a: x\x00y\n", "1:5 CFG-SYNTAX unprintable character #x0000")
        problems = parse(b'a: "x\\0y"\nb: "\\ud800"\n', "f", {}).problems
        hint = "use single quotes, in which \\ is no escape"
        flaws = {"a": "has the control character \\x00", "b": "is not UTF-8"}
        self.assertEqual([p.text for p in problems], [f"{k}: the value {flaws[k]}: {hint}" for k in "ab"])
        [told] = parse(b"a: ${X}\n", "f", {"X": "\x07"}).problems
        self.assertEqual(told.text, "a: the value has the control character \\x07")

    def test_non_breaking_space(self) -> None:
        """A blank that was pasted from a page is told, and the key is not unknown."""
        source = parse("a: 1\n\xa0\xa0b: 2\n".encode(), "f", {})
        self.assertEqual(
            [p.text for p in source.problems], ["a blank here is a non-breaking space: write ordinary ones"]
        )
        self.assertEqual(list(source.root), ["a", "b"])

    def test_impossible_escape(self) -> None:
        """An escape beyond Unicode is an error and no crash."""
        self.assert_broken(b'a: "\\UFFFFFFFF"\n', "1:1 CFG-SYNTAX an escape sequence names no character")

    def test_not_a_map(self) -> None:
        """A list or a word instead of settings is an error at its place."""
        for content, place in ((b"- a\n- b\n", "1:1"), (b"\nhello\n", "2:1")):
            expected = f'{place} CFG-SYNTAX expected settings such as "listeners:", each in a line'
            self.assert_broken(content, expected)

    def test_reference_in_a_flow_map(self) -> None:
        """${NAME} without quotes inside of braces is answered with how to write it."""
        for content in (b"a: {b: ${NAME}}\n", b"a: [x, ${N}]\n"):
            expected = '1:9 CFG-SYNTAX inside of { } and [ ] a reference needs quotes: "${NAME}"'
            self.assert_broken(content, expected)

    def test_plain_words(self) -> None:
        """A mistake of YAML is told at its place, with what to write instead, and not as a grammar."""
        for content, expected in {
            "a: [127.0.0.0/8, ::1]": '1:18 quotes are missing: write "::1"',
            "a: {b: [fe80::1, ::ffff:1.2.3.4]}": '1:18 quotes are missing: write "::ffff:1.2.3.4"',
            "a: *@example.com": '1:5 quotes are missing: write "*@example.com"',
            "a: [*@example.com]": '1:6 quotes are missing: write "*@example.com"',
            "password: *@hunter2": "1:12 a value that begins so needs quotes",
            "a: @x": "1:4 a value cannot begin with @ unless it is in quotes",
            "a: %x": "1:4 a value cannot begin with % unless it is in quotes",
            "a: b: c": '1:5 a value that has ": " in it needs quotes',
            "a: 'it's'": "1:8 nothing may follow a closing quote",
            "b: 1\na: 'x\nb: y": "2:4 this quote is never closed",
            'a: "c:\\dir"': r"1:8 in double quotes \ begins an escape: use single quotes",
            "a: [1, 2\nb: 3": '1:4 this list is not closed: "]" or a comma is missing',
            "a: {b: 1": '1:4 this map is not closed: "}" or a comma is missing',
            "a: ]": "1:4 ] is where a value is expected",
            "a:\n  b: 1\n c: 2": "3:2 wrongly indented: on no level of the lines above",
            "a: x\n  b: 1": "2:4 wrongly indented, or the line before has no colon and blank behind its key",
            "a: [1],": "1:7 no comma may follow here",
            "[a]\nport=25": '2:1 expected settings such as "listeners:", each in a line',
            "a: - b": '1:4 the first "- " of a list begins a line of its own',
            "a:\n\tb: 1": "2:1 a tab cannot indent YAML: use spaces",
            "a: 1\n---\nb: 2": '2:1 a second document ("---"): a configuration is one',
        }.items():
            self.assert_broken(content.encode(), expected.replace(" ", " CFG-SYNTAX ", 1))

    def test_two_documents(self) -> None:
        """A second document is refused."""
        self.assertTrue(parse(b"a: 1\n---\nb: 2\n", "f", {}).broken)

    def test_complex_key(self) -> None:
        """A key that is a list is an error; the rest is read."""
        source = parse(b"? [a, b]\n: 1\nc: 2\n", "f", {})
        self.assertEqual(told(source.problems), ["1:3 CFG-SYNTAX a key must be one word"])
        self.assertEqual(list(source.root), ["c"])

    def test_empty_lines(self) -> None:
        """Each is looked at once, so that many of them keep nobody waiting."""
        self.assertEqual(parse(b"\n" * 200_000, "f", {}).problems, [])

    def test_too_large(self) -> None:
        """A file that no person wrote is not parsed."""
        self.assert_broken(b"#" * (MAXIMUM_BYTES + 1), f"1:1 CFG-SYNTAX larger than {MAXIMUM_BYTES} bytes")

    def test_unset_variable(self) -> None:
        """A variable that is not set is an error where it is used; the rest is read."""
        source = parse(b"a: x\nb: {c: 'in ${NOPE}'}\nd: ${YES}\n", "f", {"YES": "y"})
        expected = (
            "2:8 CFG-VARIABLE b.c: the variable NOPE is not set; ${NOPE:-default} would give it a default"
        )
        self.assertEqual(told(source.problems), [expected])
        self.assertEqual(getattr(source.root["d"], "text", None), "y")
