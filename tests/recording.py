"""What the stations tell, kept for a test to look at."""

from smtprelay.log import EVENTS


class Recording:
    """
    An :class:`smtprelay.interfaces.Events` that keeps everything.

    It refuses what the log could not print: an unknown name, a missing field.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        EVENTS[event].text.format(**fields)
        self.heard.append((event, fields))

    def of(self, event: str) -> list[dict[str, object]]:
        """Return the fields of each ``event`` that was told, in order."""
        return [fields for name, fields in self.heard if name == event]
