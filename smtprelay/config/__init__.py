"""
From a YAML file to a frozen :class:`Config`, or to a list of all problems.

The way of a setting: :mod:`.yaml_source` (YAML to a tree that knows its places) → :mod:`.environment`
(variables and ``--set`` over it) → :mod:`.from_tree` (the classes of :mod:`.model` and :mod:`.listeners`, and
those of the providers) → :mod:`.setting_defaults` (those that depend on others) → :mod:`.checks`. Unknown
keys: :mod:`.unknown_keys`. Back to text:
:mod:`.effective`. What a key means: :mod:`.setting`, from which :mod:`.explain`, :mod:`.example`,
:mod:`.json_schema` and ``docs/reference.rst`` are made.
"""

from smtprelay.config.effective import effective, sources
from smtprelay.config.example import example
from smtprelay.config.explain import Explained, explain
from smtprelay.config.json_schema import json_schema
from smtprelay.config.load import Loaded, load, read_tree
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError, Problem, render
from smtprelay.config.setting import Setting
from smtprelay.config.worker_share import shares, worker_share

__all__ = [
    "Config",
    "ConfigError",
    "Explained",
    "Loaded",
    "Problem",
    "Setting",
    "effective",
    "example",
    "explain",
    "json_schema",
    "load",
    "read_tree",
    "render",
    "shares",
    "sources",
    "worker_share",
]
