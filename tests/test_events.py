"""
Every place where the relay tells an event, read with :mod:`ast` and held against the table of events.

What is told under a name that is no word of the source, and fields that come as ``**fields``, are looked up:
in the function around the call, and where that is called within its module.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.events import about
from smtprelay.telemetry.log import EVENTS, EventKind
from tests.dispatch.stage import make_delivery

ROOT = Path(__file__).parents[1] / "smtprelay"

#: How an :class:`smtprelay.interfaces.Events` is called where it is called.
NAMES = {"events", "_events"}

#: Of what the log adds to each event that a worker tells.
ADDED = {"worker"}

#: Names that are put together where they are told, and what they can be.
COMPOSED = {"f'message.{kind}'": ("message.failed", "message.expired")}

#: Functions that return fields, and which.
RETURNED = {"about": tuple(about(make_delivery()))}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@frozen
class Told:
    """One call: where it is, the events it may tell, and the fields that it gives; or what is not clear."""

    place: str
    events: frozenset[str]
    fields: frozenset[str]
    unclear: str = ""


class UnclearError(Exception):
    """The source does not say which events or fields are meant."""


class Module:
    """One module, and what its functions are called with."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.tree = ast.parse(source)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    def told(self) -> Iterator[Told]:
        """Give each call that tells an event; a function that passes events on is asked for its callers."""
        for call in self.calls:
            if called(call) in NAMES and not self.passes_on(call):
                yield self.one(call, frozenset())
            elif called(call) in NAMES:
                around = self.function(call)
                own = {word.arg for word in call.keywords if word.arg}
                for each in self.calls:
                    if called(each) == around.name:
                        yield self.one(each, frozenset(own))
            elif len(call.args) == 1 and called(call) != "Row" and looks_like_an_event(call.args[0]):
                yield self.one(call, frozenset())

    def passes_on(self, call: ast.Call) -> bool:
        """Whether the function around is only passing on its own first parameter and its ``**fields``."""
        around = self.function(call)
        first = call.args[0] if call.args else None
        return isinstance(first, ast.Name) and bool(around.args.kwarg) and first.id in parameters(around)

    def one(self, call: ast.Call, more: frozenset[str]) -> Told:
        place = f"{self.name}:{call.lineno}"
        try:
            events = frozenset(names(call.args[0]))
            return Told(place, events, more | frozenset(self.keys(call)))
        except (UnclearError, IndexError) as error:
            return Told(place, frozenset(), more, f"{error}" or "no event")

    def keys(self, call: ast.Call) -> Iterator[str]:
        """Give the names of all keywords of ``call``."""
        for word in call.keywords:
            if word.arg:
                yield word.arg
            else:
                yield from self.keys_of(word.value, self.function(call))

    def keys_of(self, value: ast.expr | None, around: Function) -> Iterator[str]:
        """Give the keys of a dictionary: one that is written out, or a name for such."""
        if isinstance(value, ast.Dict):
            for key, item in zip(value.keys, value.values, strict=True):
                if key is None:
                    yield from self.keys_of(item, around)
                elif isinstance(key, ast.Constant):
                    yield key.value
                else:
                    raise UnclearError(f"the key {ast.unparse(key)}")
        elif isinstance(value, ast.Name):
            found = [*self.assigned(value.id, around), *self.given(value.id, around)]
            if not found:
                raise UnclearError(f"what {value.id} is")
            for each, there in found:
                yield from self.keys_of(each, there)
        elif isinstance(value, ast.Call) and called(value) in RETURNED:
            yield from RETURNED[called(value)]
        else:
            raise UnclearError(ast.unparse(value) if value else "nothing")

    def assigned(self, name: str, around: Function) -> Iterator[tuple[ast.expr | None, Function]]:
        """Give what ``name`` is set to in a function, ``|=`` included."""
        for node in ast.walk(around):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            is_it = any(isinstance(target, ast.Name) and target.id == name for target in targets)
            if is_it and isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                yield node.value, around

    def given(self, name: str, around: Function) -> Iterator[tuple[ast.expr, Function]]:
        """Give what the callers of a function pass as its parameter ``name``."""
        known = parameters(around)
        for call in self.calls if name in known else ():
            if called(call) == around.name:
                named = {word.arg: word.value for word in call.keywords}
                value = named.get(name) or call.args[known.index(name)]
                yield value, self.function(call)

    def function(self, node: ast.AST) -> Function:
        """Return the function around ``node``."""
        while not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node = self.parents[node]
        return node


def called(call: ast.Call) -> str:
    """Return the last word of what is called."""
    return getattr(call.func, "attr", None) or getattr(call.func, "id", "")


def parameters(function: Function) -> list[str]:
    """Return the positional parameters of a function, without ``self``."""
    return [each.arg for each in function.args.args if each.arg not in {"self", "cls"}]


@cache
def spaces() -> str:
    """Return a pattern of the words before the dots of events."""
    return "|".join(sorted({event.partition(".")[0] for event in EVENTS}))


def looks_like_an_event(node: ast.expr) -> bool:
    """Return whether it is a text that begins like the name of an event."""
    text = node.value if isinstance(node, ast.Constant) else ""
    return isinstance(text, str) and bool(re.fullmatch(rf"({spaces()})\.[a-z_]+", text))


def names(node: ast.expr) -> Iterator[str]:
    """Give the events that an expression may name."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from names(node.body)
        yield from names(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        if ast.unparse(node) not in COMPOSED:
            raise UnclearError(f"which event {ast.unparse(node)} is")
        yield from COMPOSED[ast.unparse(node)]
    else:
        raise UnclearError(f"which event {ast.unparse(node)} is")


@cache
def told() -> list[Told]:
    """Return all that the relay tells."""
    sources = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}
    # What :meth:`Module.told` looks for has one of these forms.
    telling = re.compile(rf"events\(|[\"'](?:{spaces()})\.[a-z_]+[\"']")
    modules = [Module(name, source) for name, source in sources.items() if telling.search(source)]
    return [one for module in modules for one in module.told()]


def wrong(calls: list[Told], events: dict[str, EventKind]) -> list[str]:
    """Return what the table of events does not know of ``calls``."""
    found = [f"{call.place}: {call.unclear}" for call in calls if call.unclear]
    for call in calls:
        for event in call.events:
            if event not in events:
                found.append(f"{call.place}: {event}")
            else:
                more = call.fields - {*events[event].fields, *ADDED}
                found += [f"{call.place}: {event}: {name}" for name in sorted(more)]
    return found


class EventTests(SynchronousTestCase):
    def test_every_call_is_declared(self) -> None:
        """Wherever the relay tells an event, the event is in the table, with all fields that it is given."""
        self.assertEqual(wrong(told(), EVENTS), [])

    def test_every_row_is_told(self) -> None:
        """Each event of the table is told somewhere, and each of its fields is given somewhere."""
        given: dict[str, set[str]] = {}
        for call in told():
            for event in call.events:
                given.setdefault(event, set()).update(call.fields)
        unused = {
            event: [name for name in kind.fields if name not in given.get(event, ())]
            for event, kind in EVENTS.items()
            if event not in given or not given[event].issuperset(kind.fields)
        }
        self.assertEqual(unused, {})

    def test_every_sentence_is_declared(self) -> None:
        """The sentence of an event says nothing that the event has not."""
        for event, kind in EVENTS.items():
            said = {name for _, name, _, _ in Formatter().parse(kind.text) if name}
            self.assertEqual(said - {*kind.fields, *ADDED}, set(), event)

    def test_what_is_seen(self) -> None:
        """A wrong event and a wrong field are found, however they are passed."""
        source = """
def plain(events):
    events("spool.ful", reason="x")

def unknown_field(self):
    self._events("spool.full", reason="x", who="y")

def spread(events):
    fields = {"reason": "x"}
    fields |= {"size": 1}
    events("spool.full", **fields)

def outer(events):
    passed(events, {"colour": 1})

def passed(events, fields):
    events("relay.ready" if fields else "relay.redy", **fields)

class One:
    def _tell(self, event, **fields):
        self._events(event, listener="", client="", **fields)

    def two(self):
        self._tell("session.open", weather="fine")
        self._tell("session.opn")

    def three(self, event):
        self._events(event)

    def four(self, log):
        log("relay.strat")
"""
        self.assertEqual(
            sorted(set(wrong(list(Module("m", source).told()), EVENTS))),
            [
                "m:11: spool.full: size",
                "m:17: relay.ready: colour",
                "m:17: relay.redy",
                "m:24: session.open: weather",
                "m:25: session.opn",
                "m:28: which event event is",
                "m:31: relay.strat",
                "m:3: spool.ful",
                "m:6: spool.full: who",
            ],
        )
