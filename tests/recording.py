"""What the stations tell, kept for a test to look at."""

from smtprelay.telemetry.log import EVENTS


class Recording:
    """
    An :class:`smtprelay.interfaces.Events` that keeps everything.

    It refuses what the log could not print, or does not declare: an unknown name, a missing or unknown field.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []

    def __call__(self, event: str, /, **fields: object) -> None:
        kind = EVENTS[event]
        kind.text.format(**fields)
        assert fields.keys() <= {*kind.fields, "worker"}, (event, fields)
        self.heard.append((event, fields))

    def of(self, event: str) -> list[dict[str, object]]:
        """Return the fields of each ``event`` that was told, in order."""
        return [fields for name, fields in self.heard if name == event]
