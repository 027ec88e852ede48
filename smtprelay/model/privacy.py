"""
What the relay hides of mail: subjects are left out, and addresses are masked wherever they stand.

It is applied where something leaves the relay, to all texts: reasons of providers and commands of clients
hold addresses, too. Pure.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, frozen

_LOCAL: Final = r"[^\s<>\"(),:;@\[\]]"
#: Whatever could be one. A run of characters is looked at once, so this is linear.
_ADDRESS: Final = re.compile(
    rf"""(?:"(?:[^"\\\n]|\\.){{1,64}}+"|(?<!{_LOCAL}){_LOCAL}++)@(\[[^\s\[\]]*+\]|{_LOCAL}++)"""
)
#: Where a value is an address, even without a domain.
_ADDRESSES: Final = frozenset({"sender", "author"})
#: Characters of a hash that are shown.
_SHOWN: Final = 12


@frozen(kw_only=True)
class PrivacyMask:
    """
    Hides what the configuration says.

    :ivar subjects: subjects are shown.
    :ivar addresses: ``"full"`` shows addresses, ``"domain"`` their domains, ``"hash"`` a hash that is the
        same for the same address.
    """

    subjects: bool = True
    addresses: str = "full"

    @property
    def hides(self) -> bool:
        """Whether anything is hidden."""
        return not self.subjects or self.addresses != "full"

    def text(self, text: str) -> str:
        """Return ``text`` with the addresses in it masked."""
        if self.addresses == "full" or "@" not in text:
            return text
        return _ADDRESS.sub(self._masked, text)

    def value(self, value: Any, name: str = "") -> Any:
        """
        Return a value of JSON with everything in it masked.

        :param name: the key that it stands under.
        """
        if isinstance(value, str):
            if name == "subject" and not self.subjects:
                return ""
            return self._address(value) if name in _ADDRESSES else self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self.value(each, key) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each, name) for each in value]
        return value

    def fields(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return the fields of an event with their texts masked."""
        return {
            name: self.value(value, name) if isinstance(value, str | list | tuple | Mapping) else value
            for name, value in fields.items()
        }

    def archived(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """
        Return a message of an archive with its history masked.

        The envelope of one that is not finished stays: it is part of the mail, which another relay delivers.
        """
        if message["finished"] is not None:
            # Its recipients stay different from each other.
            different = evolve(self, addresses="full" if self.addresses == "full" else "hash")
            return dict(different.value(message))
        masked = self.value(message)
        kept = {name: message[name] for name in ("sender", "author", "parameters")}
        deliveries = [
            {
                **hidden,
                "lane": shown["lane"],
                "recipients": [
                    {**one, "address": each["address"], "orcpt": each["orcpt"]}
                    for one, each in zip(hidden["recipients"], shown["recipients"], strict=True)
                ],
            }
            for hidden, shown in zip(masked["deliveries"], message["deliveries"], strict=True)
        ]
        return {**masked, **kept, "deliveries": deliveries}

    def _address(self, text: str) -> str:
        if self.addresses == "full" or not text or text.startswith(("*", "#")):
            return text
        masked = self.text(text)
        return masked if masked != text else "*" if self.addresses == "domain" else _hash(text)

    def _masked(self, found: re.Match[str]) -> str:
        return f"*@{found[1]}" if self.addresses == "domain" else _hash(found[0])


#: Hides nothing.
NO_MASK: Final = PrivacyMask()


def _hash(text: str) -> str:
    return f"#{hashlib.sha256(text.lower().encode('utf-8', 'surrogatepass')).hexdigest()[:_SHOWN]}"
