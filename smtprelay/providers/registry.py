"""
All types of provider: the built-in ones, and those of other packages.

Another package adds a kind as a Twisted plugin (:class:`smtprelay.providers.plugin.ProviderPlugin`), or as an
entry point of the group ``smtprelay.providers`` that has the name of its type. They are looked for when a
configuration names a type that is not built in, and where all settings are shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Final
from warnings import warn

from smtprelay.providers.acs.kind import ACS
from smtprelay.providers.capture.kind import CAPTURE
from smtprelay.providers.graph.kind import GRAPH
from smtprelay.providers.kind import ProviderKind
from smtprelay.providers.mailgun.kind import MAILGUN
from smtprelay.providers.resend.kind import RESEND
from smtprelay.providers.ses.kind import SES
from smtprelay.providers.smarthost.kind import SMARTHOST
from smtprelay.settings.provider import ProviderSettings

#: The types of this version, one a line.
BUILT_IN: Final[Mapping[str, ProviderKind]] = {
    ACS.name: ACS,
    GRAPH.name: GRAPH,
    SES.name: SES,
    MAILGUN.name: MAILGUN,
    RESEND.name: RESEND,
    SMARTHOST.name: SMARTHOST,
    CAPTURE.name: CAPTURE,
}

GROUP: Final = "smtprelay.providers"


def kind_of(settings: ProviderSettings) -> ProviderKind:
    """Return the kind that ``settings`` are for."""
    return kinds(settings.type)[settings.type]


def task_places(settings: Iterable[ProviderSettings]) -> list[str]:
    """Return the packages of ``settings`` beside ours: tasks of the MIME worker may be there."""
    return sorted({type(each).__module__.partition(".")[0] for each in settings} - {"smtprelay"})


def kinds(name: str) -> Mapping[str, ProviderKind]:
    """Return kinds by name: the built-in ones if ``name`` is one of them, else all that are installed."""
    return BUILT_IN if name in BUILT_IN else all_kinds()


@cache
def all_kinds() -> Mapping[str, ProviderKind]:
    """Return every kind by name; none takes the name of a built-in one."""
    return {**{kind.name: kind for kind in (*by_entry_point(), *by_plugin())}, **BUILT_IN}


def by_entry_point() -> Iterator[ProviderKind]:
    """Give the kinds of the entry points of :data:`GROUP`."""
    for found in entry_points(group=GROUP):
        try:
            yield found.load()
        except Exception as error:  # noqa: BLE001 -- one broken package must not keep the others away
            warn(f"{found.value} adds no provider type {found.name}: {error!r}", stacklevel=1)


def by_plugin() -> Iterator[ProviderKind]:
    """Give the kinds of the Twisted plugins."""
    # Slow to import, and most configurations need none.
    from twisted.plugin import getPlugins  # noqa: PLC0415

    from smtprelay.providers.plugin import IProviderPlugin  # noqa: PLC0415

    for plugin in getPlugins(IProviderPlugin):
        yield plugin.kind
