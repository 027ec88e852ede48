"""
A provider kind as a Twisted plugin, for a file in ``twisted/plugins/``.
"""

from attrs import frozen
from twisted.plugin import IPlugin
from zope.interface import Attribute, implementer

from smtprelay.providers.kind import ProviderKind


class IProviderPlugin(IPlugin):
    """A plugin that adds a type of provider."""

    kind = Attribute("The :class:`ProviderKind`.")


@implementer(IProviderPlugin)
@frozen
class ProviderPlugin:
    """The plugin of one kind."""

    kind: ProviderKind
