"""
Writes ``docs/reference.rst`` and ``etc/smtprelay.yaml`` from the settings classes: ``make reference``.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap

from smtprelay.config import Config, example
from smtprelay.config.setting import Setting, flow, settings_in, summary_of
from smtprelay.settings.provider import type_word

ROOT = Path(__file__).parents[1]

BEGINNING = """\
.. Made by "make reference" from the settings classes.

All settings
============

``*`` in a key stands for each entry of a list or map. In a variable, ``NAME`` is the name of an entry of a
map, and ``0`` the position of an entry of a list; of an entry that the file gives a ``name``, that does, too.
``SMTPRELAY_A__B=c`` is the same as ``--set a.b=c``. ``smtprelay config explain KEY`` shows one setting, also
one of a provider from another package, with its value and the variable that sets it;
``smtprelay config show --sources`` tells where each value comes from.

"""


def reference() -> str:
    """Return the page."""
    return BEGINNING + "\n".join(_all(list(settings_in(Config))))


def _all(settings: list[Setting]) -> Iterator[str]:
    for setting in settings:
        yield from (setting.name, "-" * len(setting.name), "")
        yield from _lines(setting)


def _lines(setting: Setting) -> Iterator[str]:
    text = rst(setting.documented[""])
    yield f"``{setting.key}``"
    yield from _wrapped(text[:1].upper() + text[1:], "   ")
    known = {label: words for label, words in facts(setting).items() if words}
    if known:
        yield ""
    for label, words in known.items():
        yield from _wrapped(f":{label}: {words}", "      ")
    yield ""
    for cls, settings, as_before in setting.sections():
        if "type" in setting.keys:
            heading = f"{setting.name}: {type_word(cls)}"
            yield from (heading, "~" * len(heading), "", rst(summary_of(cls)), "")
        for each in settings:
            yield from _lines(each)
        if as_before:
            keys = ", ".join(f"``{each.name}``" for each in as_before)
            yield from (f"Also, as above: {keys}.", "")


def _wrapped(text: str, indent: str) -> list[str]:
    lines = wrap(text, 120, initial_indent="   ", subsequent_indent=indent, break_on_hyphens=False)
    return [line.rstrip() for line in lines]


def facts(setting: Setting) -> dict[str, str]:
    """Return what else is known of a setting, by label."""
    words = rst(setting.documented.get("Default", "")).rstrip(".")
    if setting.classes:
        return {"default": words}
    value = flow(setting.default)
    return {
        "type": rst(setting.type),
        "unit": setting.unit,
        "instead of": f"``{setting.instead_of}``" if setting.instead_of else "",
        "default": words or (f"``{value}``" if value else setting.default_text),
        "example": f"``{setting.example}``",
        "variable": f"``{setting.variable}``" if setting.variable else "none: only the file can have it",
    }


def rst(text: str) -> str:
    """Return a text of a docstring with literals as its only markup."""
    parts = re.sub(r":\w+:`~?([^`]*)`", r"``\1``", text).split("``")
    return "``".join(part.replace("*", r"\*") if n % 2 == 0 else part for n, part in enumerate(parts))


if __name__ == "__main__":
    (ROOT / "docs" / "reference.rst").write_text(reference(), "utf-8")
    (ROOT / "etc" / "smtprelay.yaml").write_text(example(), "utf-8")
