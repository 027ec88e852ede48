"""
A type of provider: all that the relay must know of it.

It is imported with the configuration, by every command, so nothing slow is imported here. A provider's
``build`` imports the provider itself when it is called.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, fields, frozen

from smtprelay.model.route import Limits
from smtprelay.settings.complaint import Complaint, Path
from smtprelay.settings.provider import ProviderSettings, type_word
from smtprelay.settings.proxy import ProxySetting
from smtprelay.settings.secret import SECRET_WORDS, is_secret

if TYPE_CHECKING:
    from smtprelay.interfaces import Provider
    from smtprelay.providers.context import ProviderContext

#: Gives what is wrong with the settings of one provider; they are at ``path`` of the configuration.
SettingsCheck = Callable[[Any, Path], Iterable[Complaint]]


@frozen(kw_only=True)
class ProviderKind:
    """
    One type of provider.

    :ivar settings: its settings class; the word of ``type:`` is that of its attribute ``type``.
    :ivar build: makes the provider from its name, its settings and what it may use; connects nothing.
    :ivar limits: those that it documents; ``limits:`` in the configuration replaces single ones.
    :ivar checks: what must be right about its settings.
    :ivar outside_checks: the same for the secrets and files that they name.
    :ivar raw: it sends mail as MIME, so each mail is finished before the provider gets it.
    """

    settings: type[ProviderSettings] = field()
    build: "Callable[[str, Any, ProviderContext], Provider]"
    limits: Limits = field(factory=Limits)
    checks: Sequence[SettingsCheck] = ()
    outside_checks: Sequence[SettingsCheck] = ()
    raw: bool = False
    name: str = field(init=False)

    @settings.validator
    def _names(self, _: object, settings: type[ProviderSettings]) -> None:
        """In a quoted line of the file a secret is known, and hidden, by the name of its key."""
        for each in fields(settings):
            # The login of a URL is hidden by its form.
            if "Secret" in str(each.type) and each.type != ProxySetting and not is_secret(each.name):
                raise ValueError(f"{each.name}: the name of a secret has one of {', '.join(SECRET_WORDS)}")

    @name.default
    def _name(self) -> str:
        return type_word(self.settings)
