"""What a task is called, which tasks there are, and that little is told of a failure however large it is."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import TooComplexError
from smtprelay.mime.worker.task import failure, name_of, named


def deep(levels: int) -> None:
    if levels:
        deep(levels - 1)
    raise ValueError("x" * 10_000)


def forever() -> None:
    and_ever()


def and_ever() -> None:
    forever()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


def raised(function, *arguments) -> Exception:
    try:
        function(*arguments)
    except (ValueError, RecursionError) as error:
        return error
    raise AssertionError("it should have raised")


class NameTests(SynchronousTestCase):
    def test_there_and_back(self):
        """A function is found again by its name."""
        for task in (name_of, failure):
            self.assertEqual(name_of(task), f"smtprelay.mime.worker.task:{task.__name__}")
            self.assertIs(named(name_of(task)), task)

    def test_no_task(self):
        """Nothing outside of the package, no method, and nothing without a module has a name of a task."""
        for name in (
            "os:system",
            "smtprelayed.mime:read",
            "smtprelay:x",
            "smtprelay.mime.worker.task:name_of.__class__",
            "smtprelay.mime.worker.task:",
            "smtprelay.mime.worker.task",
            "",
            "tests.mime.worker.test_task:deep",
        ):
            with self.assertRaises(ValueError, msg=name):
                named(name)

    def test_more_prefixes(self):
        """A test may have its own tasks."""
        self.assertIs(named("tests.mime.worker.test_task:deep", ("smtprelay.", "tests.")), deep)


class FailureTests(SynchronousTestCase):
    def test_what_is_told(self):
        """The type that the relay knows it by, its text, and where it happened."""
        told = failure(raised(deep, 0))
        self.assertEqual(told["type"], "builtins:ValueError")
        self.assertTrue(told["text"].startswith("xxxx"))
        self.assertIn("test_task.py:", told["line"])
        self.assertIn("in deep", told["traceback"])
        self.assertEqual(failure(TooComplexError("parts"))["type"], name_of(TooComplexError))

    def test_short(self):
        """Neither a deep recursion nor a long text makes it long."""
        for error in (raised(deep, 300), raised(forever)):
            self.assertLess(sum(map(len, failure(error).values())), 5_000)
            self.assertNotIn("\n", failure(error)["line"])

    def test_unprintable(self):
        """An exception that cannot be printed is told of all the same."""
        told = failure(UnprintableError())
        self.assertIn("Unprintable", told["line"])
        self.assertIn("Unprintable", told["text"])
