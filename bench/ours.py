"""
Our relay, as it is run in production, with a configuration of its own in a folder of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from bench.program import PYTHON, ROOT, Program, free_port

_KEY: Final = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DOMAIN: Final = "example.com"

#: Nobody listens there.
NOWHERE: Final = {"type": "smarthost", "host": "127.0.0.1", "port": 9, "tls": "none"}


def smarthost(port: int, concurrency: int = 50) -> dict[str, Any]:
    """Return the settings of a provider that speaks SMTP to ``port``."""
    return {"type": "smarthost", "host": "127.0.0.1", "port": port, "tls": "none", "concurrency": concurrency}


def acs(port: int, concurrency: int = 50) -> dict[str, Any]:
    """Return the settings of a provider that posts to ``port``."""
    return {
        "type": "acs",
        "connection_string": f"endpoint=http://127.0.0.1:{port}/;accesskey={_KEY}",
        "sender": f"sender@{DOMAIN}",
        "sender_domains": [DOMAIN],
        "concurrency": concurrency,
        "accept_on": "202",
    }


def mailgun(port: int, concurrency: int = 50) -> dict[str, Any]:
    """Return the settings of a provider that posts forms with whole mails to ``port``."""
    key = {"endpoint": f"http://127.0.0.1:{port}", "api_key": "key", "concurrency": concurrency}
    return {"type": "mailgun", "domain": f"mg.{DOMAIN}", **key}


def resend(port: int, concurrency: int = 50) -> dict[str, Any]:
    """Return the settings of another provider that posts JSON to ``port``."""
    key = {"endpoint": f"http://127.0.0.1:{port}", "api_key": "re_key", "concurrency": concurrency}
    return {"type": "resend", **key}


def ses(port: int, concurrency: int = 50) -> dict[str, Any]:
    """Return the settings of a provider that posts whole mails to ``port``."""
    return {
        "type": "ses",
        "region": "eu-west-1",
        "endpoint": f"http://127.0.0.1:{port}",
        "rate": ["1000000/s"],
        "concurrency": concurrency,
    }


#: What ``ses`` signs with.
_AWS: Final = ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", f"AWS_SECRET_ACCESS_KEY={_KEY}")

#: The module that runs it, wrapped for measuring.
ENTRY = "bench.entry"


class Ours(Program):
    """
    A relay that runs.

    :param program: the module that runs it, and its first argument.
    :param more: settings that are added to the configuration, or replace its own.
    :param spool: the settings of its spool; a file in ``folder`` if there are none.
    :param synchronous: so many workers have no spool, and answer with the provider's verdict; 0: it has one.
    :param root: the checkout that it runs from, with this Python.
    """

    def __init__(
        self,
        folder: Path,
        providers: Mapping[str, Mapping[str, Any]],
        *,
        program: Sequence[str] = (ENTRY, "run"),
        more: Mapping[str, Any] | None = None,
        spool: Mapping[str, Any] | None = None,
        synchronous: int = 0,
        root: Path = ROOT,
    ) -> None:
        self.port = free_port()
        self.folder = folder
        self.control = folder / "control.sock"
        folder.mkdir(parents=True, exist_ok=True)
        limits = {"size": "64MiB", "connections": 10000, "connections_per_client": 10000}
        listener = {
            "name": "in",
            "endpoint": f"tcp:{self.port}:interface=127.0.0.1:backlog=1000",
            "limits": limits,
        }
        config: dict[str, Any] = {
            "hostname": "relay.example.com",
            "listeners": [listener],
            "providers": dict(providers),
            "routes": [{"name": "default", "via": [next(iter(providers))]}],
            "logging": {"file": str(folder / "log")},
        }
        if synchronous:
            listener["delivery"] = "synchronous"
            config["workers"] = synchronous
        else:
            config["spool"] = dict(spool or {"path": str(folder / "spool")})
        config.update(more or {})
        file = folder / "smtprelay.yaml"
        file.write_text(yaml.safe_dump(config))
        # Not in the configuration: a revision before this one may call its key otherwise.
        place = f"RUNTIME_DIRECTORY={folder}"
        super().__init__(["env", place, *_AWS, PYTHON, "-m", *program, file], folder / "output", root)
        self.wait_for(self.port)
