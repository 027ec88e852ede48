"""The loop of the worker: tasks in, answers out, whatever a task does, until the input ends."""

import json
import os
from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import TooComplexError
from smtprelay.mime.worker import shared_file
from smtprelay.mime.worker.child import Child
from smtprelay.mime.worker.frames import FACTS, FAILURE, READY, TASK, FrameDecoder, frame
from smtprelay.mime.worker.task import PREFIXES, name_of


def task(name: str, cpu: float = 1.0, memory: int = 1000, size: int = 0, **parameters) -> bytes:
    asked = {
        "task": f"tests.mime.worker.tasks:{name}",
        "parameters": parameters,
        "cpu": cpu,
        "memory": memory,
        "size": size,
    }
    return frame(TASK, json.dumps(asked).encode())


class ChildTests(SynchronousTestCase):
    def setUp(self):
        self.file = shared_file.create()
        self.addCleanup(os.close, self.file)

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
            file=self.file,
        ).run()
        ready, *answers = FrameDecoder().feed(b"".join(said))
        self.assertEqual(ready, (READY, b""))
        return answers

    def test_a_task(self):
        """It takes the mail out of the file, puts there what it made, and tells how much that is."""
        shared_file.put(self.file, b"abc")
        [(kind, said)] = self.answers(task("repeat", size=3, times=2))
        told = json.loads(said)
        self.assertEqual((kind, told["facts"]["size"], told["octets"]), (FACTS, 3, 6))
        self.assertEqual(shared_file.take(self.file, 6), b"abcabc")

    def test_no_octets(self):
        """A task may make none."""
        shared_file.put(self.file, b"abc")
        [(kind, said)] = self.answers(task("repeat", size=3, times=0))
        self.assertEqual((kind, json.loads(said)["octets"], shared_file.take(self.file, 0)), (FACTS, 0, b""))

    def test_limits(self):
        """Each task is bounded by what was said of it."""
        self.answers(task("repeat", cpu=2.5, memory=10), task("repeat", cpu=7, memory=20))
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
            said = self.answers(task(name, **parameters), task("repeat"))
            self.assertEqual([kind for kind, _ in said], [FAILURE, FACTS], name)
            self.assertEqual(json.loads(said[0][1])["type"], kind)

    def test_no_task(self):
        """A function that lies elsewhere is not called."""
        [(_, said)] = self.answers(task("repeat"), prefixes=())
        self.assertIn("is no task", json.loads(said)["text"])

    def test_input_ends(self):
        """It ends with its input, between tasks and within a frame."""
        for sent, kinds in (((), []), ((task("repeat"),), [FACTS]), ((task("repeat")[:-1],), [])):
            self.assertEqual([kind for kind, _ in self.answers(*sent)], kinds)

    def test_no_sense(self):
        """It ends when the relay says what makes no sense: there is no way to go on together."""
        for sent in (b"garbage and more", frame(FACTS, b"{}")):
            self.assertEqual(self.answers(sent, task("repeat")), [])
