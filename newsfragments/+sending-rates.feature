Rates for those who send: ``limits.messages`` and ``limits.recipients_rate`` of a listener (for each client, user or
the whole listener, with a burst), and ``rate`` of a user. ``limits.greet_delay`` refuses clients that do not wait
for the greeting; ``limits.commands``, ``errors`` and ``data_rate`` can be set.
