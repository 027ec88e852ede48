from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.config.loading import SMALL, codes, problems_of


class ReachTests(SynchronousTestCase):
    def test_files(self) -> None:
        """A certificate that is not there, or is a folder, is told with its path."""
        for path, reason in {"/nope.pem": "no such file or directory", "/": "is a directory"}.items():
            text = SMALL.replace("name: lan", f"name: lan, tls: {{certificate: {path}, key: {path}}}")
            texts = [problem.text for problem in problems_of(text)]
            self.assertEqual(len(texts), 2)
            self.assertIn(f"certificate: file {path}: {reason}", texts[0])
            self.assertIn(f"key: file {path}: {reason}", texts[1])

    def test_spool(self) -> None:
        """The spool's folder may be made, but not below a file."""
        file = Path(self.mktemp())
        file.write_text("")
        for path, expected in (
            (file, ["CFG-SPOOL"]),
            (file / "spool", ["CFG-SPOOL"]),
            (file.parent / "a/b", []),
        ):
            self.assertEqual(
                codes(problems_of(SMALL.replace("path: spool", f"path: {path.absolute()}"))), expected
            )

    def test_memory(self) -> None:
        """A spool in memory has no folder."""
        text = SMALL.replace("path: spool", "engine: memory, path: /dev/null/x")
        self.assertEqual(problems_of(text), [])

    def test_endpoints(self) -> None:
        """An endpoint that Twisted does not know is told at its place."""
        [problem] = problems_of(SMALL.replace("tcp:2525", "tpc:2525"))
        self.assertEqual((problem.code, problem.line, problem.column), ("CFG-ENDPOINT", 1, 35))
