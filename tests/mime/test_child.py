"""The loop of the worker: tasks in, answers out, whatever a task does, until the input ends."""

import json
from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import TooComplexError
from smtprelay.mime.worker.child import Child
from smtprelay.mime.worker.frames import (
    CHUNK,
    END,
    FACTS,
    FAILURE,
    MORE,
    OCTETS,
    PIECE,
    TASK,
    FrameDecoder,
    frame,
)
from smtprelay.mime.worker.task import PREFIXES, name_of


def task(name: str, cpu: float = 1.0, memory: int = 1000, **parameters) -> bytes:
    asked = {"task": f"tests.mime.tasks:{name}", "parameters": parameters, "cpu": cpu, "memory": memory}
    return frame(TASK, json.dumps(asked).encode())


class ChildTests(SynchronousTestCase):
    def answers(self, *sent: bytes, prefixes=("tests.",)):
        """Return what the worker says to ``sent``, each given to it in one read, until it ends."""
        self.limits: list[tuple[float, int]] = []
        said: list[bytes] = []
        pending = deque(sent)
        Child(
            read=lambda: pending.popleft() if pending else b"",
            write=said.append,
            limit=lambda cpu, memory: self.limits.append((cpu, memory)),
            prefixes=(*PREFIXES, *prefixes),
        ).run()
        return list(FrameDecoder().feed(b"".join(said)))

    def test_a_task(self):
        """It asks for each piece of the mail, and answers with octets and facts."""
        said = self.answers(task("repeat", times=2), frame(CHUNK, b"ab"), frame(CHUNK, b"c"), frame(END))
        self.assertEqual([kind for kind, _ in said], [MORE, MORE, MORE, OCTETS, FACTS])
        self.assertEqual(said[3][1], b"abcabc")
        self.assertEqual(json.loads(said[4][1])["size"], 3)

    def test_no_octets(self):
        """A task that makes none answers with facts alone."""
        said = self.answers(task("repeat"), frame(END))
        self.assertEqual([kind for kind, _ in said], [MORE, FACTS])

    def test_large_octets(self):
        """What is made leaves in pieces."""
        said = self.answers(task("repeat", times=PIECE), frame(CHUNK, b"abc"), frame(END))
        sizes = [len(octets) for kind, octets in said if kind == OCTETS]
        self.assertEqual(sizes, [PIECE, PIECE, PIECE])

    def test_limits(self):
        """Each task is bounded by what was said of it."""
        self.answers(
            task("repeat", cpu=2.5, memory=10), frame(END), task("repeat", cpu=7, memory=20), frame(END)
        )
        self.assertEqual(self.limits, [(2.5, 10), (7, 20)])

    def test_failures(self):
        """A task that raises anything, or returns what cannot be told, fails alone; the next one is done."""
        for name, parameters, kind in (
            ("fail", {"text": "x"}, "builtins:KeyError"),
            ("refuse", {"text": "x"}, name_of(TooComplexError)),
            ("recurse", {}, "builtins:RecursionError"),
            ("no_facts", {}, "builtins:TypeError"),
            ("large_facts", {"characters": 1 << 20}, "builtins:ValueError"),
            ("no_such_task", {}, "builtins:AttributeError"),
            ("gulp", {"octets": 1 << 60}, "builtins:MemoryError"),
        ):
            said = self.answers(task(name, **parameters), frame(END), task("repeat"), frame(END))
            self.assertEqual([kind for kind, _ in said], [MORE, FAILURE, MORE, FACTS], name)
            self.assertEqual(json.loads(said[1][1])["type"], kind)

    def test_no_task(self):
        """A function that lies elsewhere is not called."""
        said = self.answers(task("repeat"), frame(END), prefixes=())
        self.assertIn("is no task", json.loads(said[-1][1])["text"])

    def test_input_ends(self):
        """It ends with its input, between tasks, within one, and within a frame."""
        for sent, kinds in (
            ((), []),
            ((task("repeat"),), [MORE]),
            ((task("repeat"), frame(CHUNK, b"x")), [MORE, MORE]),
            ((task("repeat"), frame(CHUNK, b"xyz")[:-1]), [MORE]),
        ):
            self.assertEqual([kind for kind, _ in self.answers(*sent)], kinds)

    def test_no_sense(self):
        """It ends when the relay says what makes no sense: there is no way to go on together."""
        for sent in ((b"garbage and more",), (frame(MORE),), (task("repeat"), frame(TASK, b"{}"))):
            said = self.answers(*sent, task("repeat"), frame(END))
            self.assertEqual({kind for kind, _ in said} - {MORE}, set())
