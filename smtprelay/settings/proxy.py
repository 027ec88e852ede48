"""
The setting of an HTTP proxy, and what the environment says of one.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from smtprelay.net.outbound import HttpProxy, parse_proxy
from smtprelay.settings.secret import Secret, missing
from smtprelay.settings.values import STRING, Notation

#: The word that ignores the environment.
OFF: Final = "off"
_PROXY: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
_NO_PROXY: Final = ("no_proxy", "NO_PROXY")


def parse_proxy_url(text: str) -> str:
    """Return the URL of a proxy as :attr:`HttpProxy.url` has it, or ``off``."""
    return OFF if text.lower() == OFF else parse_proxy(text).url


#: A URL, whose login is never shown; or a secret that is one.
ProxySetting = Annotated[str, Notation(parse_proxy_url, "URL of a proxy or off", json=STRING)] | Secret | None


def proxy_of(setting: ProxySetting) -> HttpProxy | None:
    """Return the proxy that a setting means; raises ``ValueError`` if it cannot be read."""
    text = setting.reveal().strip() if isinstance(setting, Secret) else setting
    return None if text is None or text.lower() == OFF else parse_proxy(text)


def has_password(setting: ProxySetting) -> bool:
    """Tell whether a setting that is no secret has a password."""
    return isinstance(setting, str) and setting != OFF and bool(parse_proxy(setting).password)


def environment_proxy(environ: Mapping[str, str]) -> ProxySetting:
    """Return the proxy of the environment; if its URL is wrong, a secret that says so when it is read."""
    name = next((name for name in _PROXY if environ.get(name, "").strip()), "")
    try:
        return parse_proxy(environ[name].strip()).url if name else None
    except ValueError as error:
        return missing(f"env {name}", f"{name}: {error}")


def environment_no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the environment says is reached without a proxy."""
    listed = next((environ[name] for name in _NO_PROXY if environ.get(name)), "")
    return tuple(re.findall(r"[^,\s]+", listed))
