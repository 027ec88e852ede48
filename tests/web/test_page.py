"""The page's files: small, self-contained, and careful with what they show."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import smtprelay.web
from tests.web.asking import Fixture

STATIC = Path(smtprelay.web.__file__).parent / "static"
FILES = {path.name: path.read_text() for path in STATIC.iterdir()}
MODULES = [name for name in FILES if name.endswith(".js")]


class PageTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_every_file_is_served_with_its_type(self):
        """The page, its modules and its style, under a policy that lets in our own files alone."""
        paths = {
            "/": "text/html",
            **{f"/{name}": "text/javascript" for name in MODULES},
            "/page.css": "text/css",
        }
        for path, kind in paths.items():
            response = self.fixture.get(path)
            self.assertEqual(response.headers["content-type"], f"{kind}; charset=utf-8")
            self.assertEqual(response.body.decode(), FILES[path.removeprefix("/") or "index.html"])
            policy = response.headers["content-security-policy"]
            self.assertIn("script-src 'self'; style-src 'self'", policy)
            self.assertNotIn("unsafe", policy)
        self.assertEqual(len(paths), len(FILES))

    def test_whatever_a_file_loads_is_there(self):
        """Links of the page and imports of its modules are served by this site."""
        found = re.findall(r'(?:href|src)="([\w.]+)"', FILES["index.html"]) + re.findall(
            r'from "\./([\w.]+)"', "".join(FILES[name] for name in MODULES)
        )
        self.assertEqual(sorted(set(found)), sorted(["page.css", *MODULES]))

    def test_nothing_comes_from_elsewhere(self):
        """No CDN, no font server: the page works without the internet."""
        for name, text in FILES.items():
            self.assertEqual(re.findall(r"https?://|//cdn|@import|url\(", text), [], name)

    def test_text_stays_text(self):
        """No way to make HTML out of a string is used, and no code out of one either."""
        dangerous = (
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|srcdoc|eval\(|Function\("
        )
        for name in (*MODULES, "index.html"):
            self.assertEqual(re.findall(dangerous, FILES[name]), [], name)

    def test_a_command_is_quoted(self):
        """What a command to be copied gets from a link stands in it as one word of a shell."""
        commands = [text for name in MODULES for text in re.findall(r"command\(`([^`]*)`", FILES[name])]
        self.assertNotEqual(commands, [])
        for text in commands:
            self.assertEqual(re.findall(r"\$\{(?!quoted\()", text), [], text)

    def test_it_is_small(self):
        """All of it together stays below what a slow line notices."""
        self.assertLess(sum(len(text.encode()) for text in FILES.values()), 60_000)
