"""
Station 4: what was accepted is brought to its end.

The rules, as a list:

- What a provider says is judged for each recipient on its own; what is closed is closed, and only
  the rest goes again.
- In the absence of a definite answer a mail is deferred, never failed.
- An attempt whose answer was lost is resolved before anything else happens to its mail.
- A lane that fails for its owner's reasons is stopped and probed; that never costs a mail a try.
- What waits in such a lane goes on at another provider of its route, if there is one.
- Expiry is judged only when an attempt has just ended with a deferral. What is still uncertain by then is
  held: it may have arrived, and must neither bounce nor be sent for ever.
- A report to a sender is accepted in the transaction that closes the recipients it reports on.

``dispatcher`` is the loop, ``attempt`` one attempt from claim to settlement, ``decision`` what its outcomes
lead to, ``retry`` every delay. ``lane_state`` and ``probe`` stop lanes and open them again; ``failover``
finds the next provider, and ``reroute`` moves what waits in a stopped lane. ``dsn`` writes to senders,
``webhook`` to programs. ``synchronous`` is the other way in: its client waits for the provider's reply.
"""
