"""
The diagram of the SMTP session in the documents: made from the session's own tables.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.smtp.states import AFTER_REFUSAL, HALF_WAY, TRANSITIONS, State

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.rst"
BEGIN, END = ".. session-states\n", ".. end of session-states\n"


def diagram() -> str:
    """Return the states, each with the commands that may come in it and where they lead."""
    return "".join(f"   {line}\n" for state in TRANSITIONS for line in _lines(state))


def _lines(state: State) -> Iterator[str]:
    leads: dict[tuple[str, str], list[str]] = defaultdict(list)
    for verb, after in TRANSITIONS[state].items():
        if HALF_WAY.get(verb) is not after:
            leads["", after.name].append(verb)
        if verb in HALF_WAY:
            leads["3xx", HALF_WAY[verb].name].append(verb)
        refused = AFTER_REFUSAL.get(verb, state)
        if refused is not state:
            leads["4xx, 5xx", refused.name].append(verb)
    name = state.name
    for (reply, after), verbs in leads.items():
        yield f"{name:<11} ── {', '.join(verbs)}{reply and ' '}{reply} ──▶ {after}"
        name = ""


class DiagramTests(SynchronousTestCase):
    def test_it_is_that_of_the_tables(self) -> None:
        """What the document shows is what the session does."""
        text = DOCUMENT.read_text("utf-8")
        shown = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
        self.assertEqual(shown, f"\n::\n\n{diagram()}\n")
