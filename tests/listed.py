"""What a selection finds in the queue of a spool."""

from collections.abc import Sequence

from smtprelay.interfaces.spool import Spool
from smtprelay.model.queue import Selection, Summary


async def listed(spool: Spool, selection: Selection) -> Sequence[Summary]:
    """Return the deliveries on the first page of a search."""
    return (await spool.admin.search(selection)).deliveries
