"""
The tasks of a MIME worker: what they are called on the way to it, and what became of one that failed.

The same in the relay's process and in the worker's. Pure.
"""

import importlib
import traceback
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

#: Where tasks may be defined.
PREFIXES: Final = ("smtprelay.",)

#: Frames of a traceback that are reported; characters of an exception's text.
_FRAMES: Final = 8
_TEXT: Final = 500

#: Work on a mail: takes its octets and parameters, returns facts about it and octets. Parameters and facts
#: are what JSON can carry (a tuple may come back as a list). A function of a module below ``smtprelay``
#: that imports nothing of Twisted; it may run in a process of its own.
MimeTask = Callable[[bytes, Mapping[str, Any]], tuple[Mapping[str, Any], bytes]]


def name_of(task: Callable[..., object]) -> str:
    """Return ``module:function``."""
    return f"{task.__module__}:{task.__qualname__}"


def named(name: str, prefixes: Collection[str] = PREFIXES) -> MimeTask:
    """
    Return the task that has this name.

    :raises ValueError: it is none: it does not lie where tasks may, or is no function of a module.
    """
    module, _, function = name.partition(":")
    check_place(module, prefixes)
    if not function.isidentifier():
        raise ValueError(f"{name} is no task")
    task: MimeTask = getattr(importlib.import_module(module), function)
    return task


def check_place(module: str, prefixes: Collection[str]) -> None:
    """Raise ``ValueError`` if no task may be defined in ``module``."""
    if not module.startswith(tuple(prefixes)):
        raise ValueError(f"a function of {module} is no task")


def failure(error: BaseException) -> dict[str, str]:
    """
    Return the report of an exception that a task raised: ``type``, ``text``, ``line`` and ``traceback``.

    All of it is short, whatever the exception and the depth of its traceback. ``line`` says what happened and
    where in one line.
    """
    frames = traceback.extract_tb(error.__traceback__, limit=-_FRAMES)
    line = " ".join(_cut("".join(traceback.format_exception_only(error))).split())
    where = f" ({frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name})" if frames else ""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 -- an exception that cannot be printed is still an exception
        text = line
    return {
        "type": name_of(type(error)),
        "text": _cut(text),
        "line": f"{line}{where}",
        "traceback": "".join(traceback.format_list(frames)).rstrip(),
    }


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"


class MailTooCostly(Exception):  # noqa: N818 -- it says what the mail is
    """Work on the mail used up the processor time or the memory that a mail of its size may use."""


class MimeWorkerTimeout(Exception):  # noqa: N818 -- the word of the field
    """The work was not done in time: the mail is costly, or the machine is busy."""


class MimeWorkerUnavailable(Exception):  # noqa: N818 -- a state, which passes
    """The worker process could not be started, ended, or is being stopped: the work can be tried again."""


class MimeTaskError(Exception):
    """
    A task raised an unexpected exception; the message has its type, text and place.

    Its cause shows the last lines of the task's traceback.
    """
