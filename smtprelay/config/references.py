"""
The settings that refer to something outside the file: paths and secrets.

Nothing is read here, so a configuration can be loaded by a user who may not read its secrets.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from smtprelay.config.environment import SECRET_PLACES
from smtprelay.config.from_tree import Hook, word_hook
from smtprelay.config.listeners import CertificateSetting
from smtprelay.config.problem import Finding, Invalid, expect_word, wrong
from smtprelay.config.tree import Scalar, Table, TreeNode
from smtprelay.config.unknown_keys import unknown_keys
from smtprelay.settings.entra import parse_secret_url
from smtprelay.settings.proxy import ProxySetting, parse_proxy_url
from smtprelay.settings.secret import Secret, fixed, flaw, in_file, in_service, in_variable, missing
from smtprelay.settings.values import FilePath, FolderPath, resolve

#: A map as the file has it, in a variable or option.
_MAP: Final = re.compile(rf"\s*\{{\s*[\"']?({'|'.join(SECRET_PLACES)})[\"']?\s*:.*", re.DOTALL)
#: What stands where a secret is expected and is no secret, but the name of its file.
_FILE_NAME: Final = re.compile(r"[\w./~-]+\.(?:pem|key|crt|cer|txt)")


def outside_hooks(environ: Mapping[str, str], folder: Path) -> Mapping[Any, Hook]:
    """Return the hooks for :class:`Secret` and paths; ``folder`` is that of the file."""
    makers: dict[str, Callable[[str, date | None], Secret]] = {
        "file": lambda text, expires: in_file(path := resolve(text, folder), f"file {path}", expires),
        "env": lambda text, expires: _variable(text, environ, expires),
        "credential": lambda text, expires: _credential(text, environ, expires),
        "key_vault": lambda text, expires: in_service(
            url := parse_secret_url(text), f"key_vault {url}", expires
        ),
    }

    def secret(node: TreeNode) -> Secret:
        if isinstance(node, Table):
            return _from_table(node, makers)
        text = expect_word(node)
        if why := flaw(text):
            raise wrong(node, why)
        literal, given_by = isinstance(node, Scalar) and node.literal, node.mark.file
        if not literal and (map_ := _MAP.fullmatch(text)):
            key = f"__{map_[1].upper()}" if given_by.startswith("SMTPRELAY_") else f".{map_[1]}"
            raise wrong(node, f"a map cannot be given here, only what is in it: {given_by}{key}=…")
        if _FILE_NAME.fullmatch(text):
            key = re.sub(r".*\.(?=\w+$)|.*\]$", "", node.where)
            written = f"{key}: {{file: {text}}}" if key else f"{{file: {text}}}"
            raise wrong(node, f"a secret is expected, not the name of its file: write {written}")
        return fixed(
            text, "inline" if literal else "--set" if given_by.startswith("--set ") else "environment"
        )

    def proxy(node: TreeNode) -> Any:
        return secret(node) if isinstance(node, Table) else word_hook(parse_proxy_url)(node)

    def certificate(node: TreeNode) -> Any:
        return secret(node) if isinstance(node, Table) else path(node)

    path = word_hook(lambda text: resolve(text, folder))
    return {
        Secret: secret,
        ProxySetting: proxy,
        CertificateSetting: certificate,
        FilePath: path,
        FolderPath: path,
    }


def _from_table(node: Table, makers: Mapping[str, Callable[[str, date | None], Secret]]) -> Secret:
    findings: list[Finding] = unknown_keys(node, (*SECRET_PLACES, "expires"))
    given = [kind for kind in SECRET_PLACES if kind in node]
    if len(given) != 1:
        text = f"{node.where}: expected one of file, env, credential and key_vault"
        # A wrong one was removed, but given.
        findings.append(
            Finding(node.mark, text, "CFG-VALUE", node, follows=not node.cut.isdisjoint(SECRET_PLACES))
        )
    expires = None
    if "expires" in node:
        try:
            expires = _day(node["expires"])
        except Invalid as invalid:
            findings += invalid.findings
    if findings:
        raise Invalid(findings)
    [kind] = given
    try:
        return makers[kind](expect_word(node[kind]), expires)
    except ValueError as error:
        raise wrong(node[kind], str(error)) from None


def _day(node: TreeNode) -> date:
    text = expect_word(node)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise wrong(node, f'"{text}" is not a date: expected one such as 2027-01-31') from None


def _variable(name: str, environ: Mapping[str, str], expires: date | None) -> Secret:
    place = f"env {name}"
    if not environ.get(name):
        return missing(place, f"the variable {name} is not set", expires)
    return in_variable(environ[name], place, expires)


def _credential(name: str, environ: Mapping[str, str], expires: date | None) -> Secret:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    place = f"credential {name}"
    if not folder:
        return missing(
            place, f"credential {name}: CREDENTIALS_DIRECTORY is not set: systemd sets it", expires
        )
    if "/" in name or name in {".", ".."}:
        return missing(place, f"credential {name}: a name without slashes is expected", expires)
    return in_file(str(Path(folder, name)), place, expires)
