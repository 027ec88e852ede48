"""
What the relay reports: events, the log that writes them, and the metrics that count them.

Every station gets one function, ``events``, which passes each event to :class:`.log.Log` and
:class:`.metrics.Metrics`.
"""
