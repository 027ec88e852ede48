"""
Each worker's share of what the providers allow, where no spool counts for all workers together. Pure.
"""

from typing import Any

from attrs import evolve

from smtprelay.config.effective import effective
from smtprelay.config.model import Config
from smtprelay.model.route import Window
from smtprelay.settings.provider import ProviderSettings


def worker_share(config: Config, number: int) -> Config:
    """
    Return the configuration of worker ``number``, counted from 1.

    Workers with a spool share its counters, so nothing is divided. Without one, each has its part of
    ``concurrency``, and of each rate the same count in a window that is as many times longer as there are
    workers: a count of 1 can be shared like this, too. All of them together keep the rate over the longer
    window; within the shorter one they may exceed it.
    """
    if config.spool is not None or config.workers == 1:
        return config
    parts = {name: _part(provider, config, number) for name, provider in config.providers.items()}
    return evolve(config, providers=parts)


def shares(config: Config) -> dict[str, Any]:
    """
    Return the shares by provider, as JSON can hold them; nothing if the workers share a spool.

    ``concurrency`` has a number for each worker; ``rate`` is the same for all.
    """
    if config.spool is not None or config.workers == 1:
        return {}
    workers = [worker_share(config, number).providers for number in range(1, config.workers + 1)]
    return {
        name: {
            "concurrency": [each[name].concurrency for each in workers],
            "rate": effective(workers[0][name])["rate"],
        }
        for name in config.providers
    }


def _part(provider: ProviderSettings, config: Config, number: int) -> ProviderSettings:
    least, rest = divmod(provider.concurrency, config.workers)
    windows = (Window(count=each.count, seconds=each.seconds * config.workers) for each in provider.rate)
    return evolve(provider, concurrency=least + (number <= rest), rate=tuple(windows))
