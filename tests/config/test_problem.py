from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.problem import ConfigError, make_problem, render
from smtprelay.config.tree import Mark
from smtprelay.settings.complaint import did_you_mean


class ProblemTests(SynchronousTestCase):
    def test_line(self) -> None:
        """A problem prints as file:line:column: severity: text [code]."""
        problem = make_problem(Mark("smtprelay.yaml", 14, 5), "wrong", "CFG-X", ())
        self.assertEqual(str(problem), "smtprelay.yaml:14:5: error: wrong [CFG-X]")

    def test_without_a_place(self) -> None:
        """A variable has no line, and no snippet."""
        problem = make_problem(Mark("SMTPRELAY_X"), "wrong", "CFG-X", ("a", "b"), "warning")
        self.assertEqual(render(problem), "SMTPRELAY_X: warning: wrong [CFG-X]")

    def test_snippet(self) -> None:
        """The line before, the line, and a caret under the column."""
        lines = ("listeners:", "  - endpoint: tcp:2525", "    max_conections: 50")
        problem = make_problem(Mark("f", 3, 5), "wrong", "CFG-X", lines)
        expected = "    2 |   - endpoint: tcp:2525\n    3 |     max_conections: 50\n      |     ^"
        self.assertEqual(problem.snippet, expected)
        self.assertEqual(render(problem), f"{problem}\n{expected}")

    def test_first_line(self) -> None:
        """The first line has none before it."""
        self.assertEqual(make_problem(Mark("f", 1, 2), "x", "C", ("abc",)).snippet, "    1 | abc\n      |  ^")

    def test_secrets_are_not_shown(self) -> None:
        """A snippet hides what stands behind a key that names a secret, and keeps the caret's column."""
        lines = ("password: hunter2", '{type: acs, access_key: "aGVsbG8=", sender: 3}')
        snippet = make_problem(Mark("f", 2, 45), "x", "C", lines).snippet
        self.assertNotIn("hunter2", snippet)
        self.assertNotIn("aGVsbG8=", snippet)
        self.assertEqual([len(line) for line in snippet.splitlines()], [8 + 17, 8 + 46, 8 + 45])

    def test_one_line(self) -> None:
        """Nothing in a problem can break the line it is printed on, or be unprintable."""
        problem = make_problem(Mark("f", 1, 1), "a\nb\x1b[31m\ud800", "C", ("x\x1b[2J",))
        self.assertEqual(str(problem), "f:1:1: error: a\ufffdb\ufffd[31m\ufffd [C]")
        self.assertIn("x\ufffd[2J", problem.snippet)
        problem.snippet.encode()

    def test_long(self) -> None:
        """What is very long is cut."""
        problem = make_problem(Mark("f", 1, 5000), "x" * 10_000, "C", ("y" * 10_000,))
        self.assertLess(len(render(problem)), 1000)

    def test_error(self) -> None:
        """The error prints all its problems, one in a line."""
        problems = [make_problem(Mark("f", n, 1), f"p{n}", "C", ()) for n in (1, 2)]
        self.assertEqual(str(ConfigError(problems)), "f:1:1: error: p1 [C]\nf:2:1: error: p2 [C]")


class DidYouMeanTests(SynchronousTestCase):
    def test_close(self) -> None:
        """The closest name is asked for, whatever the case; what is far away gives nothing."""
        names = ["connections", "PLAIN"]
        self.assertEqual(did_you_mean("conections", names), ' - did you mean "connections"?')
        self.assertEqual(did_you_mean("plain", names), ' - did you mean "PLAIN"?')
        self.assertEqual(did_you_mean("zebra", names), "")
        self.assertEqual(did_you_mean("", []), "")
