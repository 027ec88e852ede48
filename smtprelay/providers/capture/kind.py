"""
The settings of a local Maildir.
"""

from typing import TYPE_CHECKING, Final, Literal

from attrs import frozen

from smtprelay.providers.kind import ProviderKind
from smtprelay.settings import values
from smtprelay.settings.provider import ProviderSettings

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext


@frozen(kw_only=True)
class CaptureSettings(ProviderSettings):
    """
    A local Maildir: nothing leaves this machine.

    :ivar path: the folder; created if it is missing. Example: ``/var/lib/smtprelay/captured``.
    """

    type: Literal["capture"]
    path: values.FolderPath


def build(name: str, settings: CaptureSettings, context: "ProviderContext") -> "Provider":
    """Return the provider; the folder is created when it is first used."""
    from smtprelay.providers.capture.provider import Capture  # noqa: PLC0415 -- slow to import

    return Capture(name, settings.path, context.defer_to_thread, settings.limits)


#: It keeps mail as it came, so it is not ``raw``.
CAPTURE: Final = ProviderKind(settings=CaptureSettings, build=build)
