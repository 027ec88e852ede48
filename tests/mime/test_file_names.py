"""Names of files that any computer takes."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import file_names


class CleanTests(SynchronousTestCase):
    def test_paths(self):
        """Of a path the last part is taken, of whatever computer it is."""
        for path in (
            "C:\\scan\\a.pdf",
            "c:/scan/a.pdf",
            "\\\\server\\share\\a.pdf",
            "/tmp/scan/a.pdf",
            "../../a.pdf",
            "..\\a.pdf",
            "./a.pdf",
            "~/a.pdf",
            "file:///tmp/a.pdf",
            " C:\\a.pdf ",
        ):
            with self.subTest(path):
                self.assertEqual(file_names.clean(path), "a.pdf")

    def test_slashes(self):
        """A slash that belongs to the name is replaced."""
        cases = {
            "Invoice 1/2.pdf": "Invoice 1_2.pdf",
            "AC\\DC.mp3": "AC_DC.mp3",
            "30/11/2026.csv": "30_11_2026.csv",
            "a/../../b": "a_.._.._b",
            "A: b/c.txt": "A: b_c.txt",
        }
        for name, expected in cases.items():
            with self.subTest(name):
                self.assertEqual(file_names.clean(name), expected)

    def test_nothing_left(self):
        """A name may be none."""
        for name in ("", "..", "/", "C:\\", " . ", "\x00\u202e", "../.."):
            with self.subTest(name):
                self.assertEqual(file_names.clean(name), "")

    def test_what_nobody_sees(self):
        """Controls and signs that turn the direction are dropped; those that a script needs stay."""
        self.assertEqual(file_names.clean("\u202egpj.\x07e\x9bxe\u2066\ufeff"), "gpj.exe")
        self.assertEqual(file_names.clean("می\u200cخواهم.pdf"), "می\u200cخواهم.pdf")

    def test_long_names(self):
        """A long name is cut before its extension."""
        self.assertEqual(file_names.clean("x" * 500 + ".pdf"), "x" * (file_names.MAX_NAME - 4) + ".pdf")
        self.assertEqual(file_names.clean("x." + "y" * 500), ("x." + "y" * 500)[: file_names.MAX_NAME])

    @given(st.text() | st.text("./\\: aC~\x00", max_size=12))
    def test_whatever_there_is(self, name):
        """Any name is short, of one line, in no folder, and clean already when it is cleaned again."""
        clean = file_names.clean(name)
        self.assertLessEqual(len(clean), file_names.MAX_NAME)
        self.assertNotRegex(clean, r"[/\\\x00-\x1f\x7f\ud800-\udfff]|^\.|\.$")
        self.assertEqual(file_names.clean(clean), clean)
        self.assertEqual(clean.encode().decode(), clean)

    def test_portable(self):
        """What some file system does not take is replaced; a name is cut before its extension."""
        self.assertEqual(file_names.portable('a<b>:"c"|*?.pdf', 50), "a_b___c____.pdf")
        self.assertEqual(file_names.portable("x" * 50 + ".pdf", 10), "xxxxxx.pdf")

    def test_titles(self):
        """A title loses all that some computer would not have in a name."""
        self.assertEqual(file_names.from_title("Re: a/b?\r\n"), "Re_ a_b_")
        self.assertEqual(len(file_names.from_title("x" * 500)), 100)
