"""
What the relay tells of itself: events, the log that writes them, and the metrics that count them.

Every station gets one function, ``events``; :class:`.log.Log` and :class:`.metrics.Metrics` hear it.
"""
