"""
From a YAML file to a frozen :class:`Config`, or to a list of all problems.

The way of a setting: :mod:`.yaml_source` (YAML to a tree that knows its places) → :mod:`.environment`
(variables and ``--set`` over it) → :mod:`.from_tree` (the classes of :mod:`.model` and :mod:`.listeners`, and
those of the providers) → :mod:`.defaults` (those that depend on others) → :mod:`.checks`. Unknown keys:
:mod:`.problem`; settings that the roadmap promises: :mod:`.unavailable`. Back to text, and what a key means:
:mod:`.reference`, :mod:`.json_schema`, :mod:`.example`.
"""

from smtprelay.config.example import example
from smtprelay.config.json_schema import json_schema
from smtprelay.config.load import Loaded, load
from smtprelay.config.model import Config
from smtprelay.config.problem import ConfigError, Problem, render
from smtprelay.config.reference import Setting, effective, explain
from smtprelay.config.worker_share import shares, worker_share

__all__ = [
    "Config",
    "ConfigError",
    "Loaded",
    "Problem",
    "Setting",
    "effective",
    "example",
    "explain",
    "json_schema",
    "load",
    "render",
    "shares",
    "worker_share",
]
