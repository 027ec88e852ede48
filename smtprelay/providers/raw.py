"""What a provider has that sends the mail as it is."""

from smtprelay.interfaces import Body
from smtprelay.message import Envelope
from smtprelay.model.shape import Shape


class RawProvider:
    """The sizes of a :class:`smtprelay.interfaces.Provider` whose request is the mail itself."""

    def encoded_size(self, shape: Shape) -> tuple[int, int]:
        """Return the mail's own size, twice."""
        return shape.size, shape.size

    async def measure(self, envelope: Envelope, body: Body) -> int:  # noqa: ARG002 -- the seam's signature
        """Return the mail's own size."""
        return body.size
