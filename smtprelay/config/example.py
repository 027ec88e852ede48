"""
The commented configuration, made from the settings classes; ``etc/smtprelay.yaml`` is a copy of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, Final, get_origin

from smtprelay.config.model import Config
from smtprelay.config.setting import Setting, flow, plain, settings_in, summary_of
from smtprelay.settings.provider import type_word

_WIDTH: Final = 110
#: Where an explanation beside a setting begins.
_COLUMN: Final = 42

#: The part that works as it is.
_SMALL: Final = """\
## The configuration of smtprelay. "smtprelay config check FILE" reports every error in it.
##
## This first part works as it is: it accepts mail from this machine and stores it in a local folder.
## Replace "local" by your provider (all of them are below), and list in "allow_from" who may send.
## Single values can also be set from outside: SMTPRELAY_LISTENERS__MAIN__ALLOW_FROM__2=10.0.3.0/24,
## or --set listeners.main.allow_from.2=10.0.3.0/24.

listeners:
  - name: main
    endpoint: "tcp:2525"
    allow_from: [127.0.0.0/8, "::1"]

providers:
  local: {type: capture, path: /var/lib/smtprelay/captured}

routes:
  - {name: default, via: [local]}

http:
  - {endpoint: "tcp:9090", serve: [health, metrics]}

## ------------------------------------------------------------------------------------------------
## Every setting. "##" begins an explanation, "#" a setting with an example value.
## A section that is already used above (listeners, providers, routes, http) may not be given twice: copy the
## lines that you need into it. Of any other section, uncomment its first line and the settings that you need.
## "smtprelay config explain KEY" says more about a setting.
##
## Any value may hold ${NAME}, ${NAME:-default} or ${NAME:?message} from the environment; $$ is one $.
## Durations: 30s 5m 4h 2d. Sizes: 10MB (powers of 1000), 25MiB (powers of 1024). Rates: 30/min 100/h 25/10s.
## Patterns of addresses: *, *@example.com, or one address.
## Paths are relative to the folder of this file. An empty value (key:) and null mean the default.
## Secrets: {file: path}, {env: NAME}, {credential: name} (systemd), {key_vault: URL} (Azure). With
## expires: 2027-01-31 the log warns from 30 days before that day.

"""


def example() -> str:
    """Return the file: a small configuration that works, then every setting in comments."""
    return _SMALL + "\n".join("\n".join([*_lines(each, ""), ""]) for each in settings_in(Config))


def _lines(setting: Setting, lead: str) -> Iterator[str]:
    """Give the lines of a setting; ``lead`` is what precedes its key: blanks, and ``- `` in a list."""
    yield from _explained(f"#{lead}{setting.name}: {setting.example}".rstrip(), _explanation(setting), lead)
    if setting.example:
        return
    indent = " " * len(lead) + "  "
    for cls, settings, as_before in setting.sections():
        if get_origin(setting.kind) is Mapping:
            yield from _typed_entries(cls, settings, indent)
        else:
            yield from _entry(settings, indent, "- " if setting.has_entries else "")
        if as_before:
            yield from _wrapped(f"also {_listed(as_before)}, as above", f"##{indent} ")


def _typed_entries(cls: Any, settings: Sequence[Setting], indent: str) -> Iterator[str]:
    """Give an entry of a map, which has the name of its type; others for what excludes its settings."""
    groups: dict[str, list[Setting]] = {}
    for each in settings:
        groups.setdefault(each.instead_of, []).append(each)
    yield from _explained(f"#{indent}{type_word(cls)}:", plain(summary_of(cls)).rstrip("."), indent)
    yield from _entry(groups.pop(""), indent + "  ")
    for number, (excluded, group) in enumerate(groups.items(), 2):
        text = f"with {_listed(group)} instead of {excluded}"
        yield from _explained(f"#{indent}{type_word(cls)}{number}:", text, indent)
        # What is itself in a group needs the others of it.
        more = next((each for each in groups.values() if excluded in {one.name for one in each}), [])
        shown = [each for each in settings if each.required or each in group or each in more]
        yield from _entry([each for each in shown if each.name != excluded], indent + "  ")


def _listed(settings: Sequence[Setting]) -> str:
    names = [each.name for each in settings]
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]


def _entry(settings: Sequence[Setting], indent: str, dash: str = "") -> Iterator[str]:
    for number, each in enumerate(settings):
        yield from _lines(each, indent + (dash if number == 0 else " " * len(dash)))


def _explanation(setting: Setting) -> str:
    """Return the help, and what the line itself does not show: the choices and the default."""
    if setting.name == "type":
        return ""
    default = setting.default_words or flow(setting.default)
    missing = any(word not in setting.help for word in setting.choices[1:])
    parts = {
        "": setting.help.rstrip("."),
        "one of ": ", ".join(setting.choices) if missing else "",
        "default: ": default if default != setting.example else "",
    }
    return "; ".join(label + text for label, text in parts.items() if text)


def _explained(line: str, text: str, lead: str) -> Iterator[str]:
    """Give ``line`` with ``text`` beside it, or above it if there is no room."""
    beside = f"{line:<{_COLUMN}}  # {text}"
    if not text:
        yield line
    elif lead and len(beside) <= _WIDTH:
        yield beside
    else:
        prefix = "##" + " " * max(len(lead) - 1, 1)
        sentence = f"{text}." if lead else f"{text[:1].upper()}{text[1:]}."
        yield from _wrapped(sentence, prefix)
        yield line


def _wrapped(text: str, prefix: str) -> Sequence[str]:
    return wrap(text, _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)
