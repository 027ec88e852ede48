from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.unknown_keys import RENAMED
from tests.config.loading import SMALL, problems_of, told, with_provider

LISTENER = 'endpoint: "tcp:2525:interface=127.0.0.1"'

#: Each old key as a file says it: the text, its place, and the new name.
CASES = {
    "control": (SMALL + "control: /run/control.sock\n", "4:1", "control_socket"),
    "listeners.*.line_ends": (
        SMALL.replace(LISTENER, f"line_ends: fix, {LISTENER}"),
        "1:25",
        "bare_newlines",
    ),
    "listeners.*.auth.without_tls": (
        SMALL.replace(LISTENER, f"auth: {{without_tls: true}}, {LISTENER}"),
        "1:32",
        "allow_plaintext",
    ),
    "providers.*.pace": (with_provider("type: capture, path: x, pace: [30/min]"), "2:84", "rate"),
    "spool.keep": (SMALL.replace("path: spool", "path: spool, keep: {history: 1d}"), "3:22", "retention"),
    "spool.limit.messages": (
        SMALL.replace("path: spool", "path: spool, limit: {messages: 9}"),
        "3:30",
        "deliveries",
    ),
}

#: The same from outside: what follows ``--set``.
OUTSIDE = {
    "control": "control=/run/control.sock",
    "listeners.*.line_ends": "listeners.0.line_ends=fix",
    "listeners.*.auth.without_tls": "listeners.0.auth.without_tls=true",
    "providers.*.pace": "providers.local.pace.0=30/min",
    "spool.keep": "spool.keep.history=1d",
    "spool.limit.messages": "spool.limit.messages=9",
}


def sentence(old: str) -> str:
    """Return what is told of ``old``."""
    return f'the key "{old.rpartition(".")[2]}" is now called "{RENAMED[old]}"'


class RenamedTests(SynchronousTestCase):
    def test_in_the_file(self) -> None:
        """Each old key is one error at its place that names the new one."""
        for old, (text, place, new) in CASES.items():
            self.assertEqual(RENAMED[old], new)
            self.assertEqual(told(problems_of(text)), [f"{place} CFG-RENAMED-KEY {sentence(old)}"])

    def test_from_outside(self) -> None:
        """The same for --set and for the variable, which are told by their own names."""
        for old, assignment in OUTSIDE.items():
            path, _, value = assignment.partition("=")
            [problem] = problems_of(SMALL, {}, [assignment])
            self.assertEqual(str(problem), f"--set {path}: error: {sentence(old)} [CFG-RENAMED-KEY]")
            name = "SMTPRELAY_" + path.upper().replace(".", "__")
            [problem] = problems_of(SMALL, {name: value})
            self.assertEqual(str(problem), f"{name}: error: {sentence(old)} [CFG-RENAMED-KEY]")

    def test_every_row(self) -> None:
        """No row of the table is without its cases above."""
        self.assertEqual((set(CASES), set(OUTSIDE)), (set(RENAMED), set(RENAMED)))

    def test_the_same_word_elsewhere(self) -> None:
        """An old name in another place is no key that was renamed there."""
        for text in (SMALL + "pace: [1/s]\n", SMALL.replace("path: spool", "path: spool, messages: 1")):
            self.assertEqual([problem.code for problem in problems_of(text)], ["CFG-UNKNOWN-KEY"])

    def test_a_name_with_dots(self) -> None:
        """A provider's own name may have dots, and be called like a key."""
        text = SMALL.replace("local:", "keep.it: {type: capture, path: y, pace: [1/s]}, local:")
        self.assertIn(f"2:47 CFG-RENAMED-KEY {sentence('providers.*.pace')}", told(problems_of(text)))
        self.assertNotIn("RENAMED", str(told(problems_of(text.replace("pace:", "rate:")))))
