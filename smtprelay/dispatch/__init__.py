"""
Station 4: every delivery is attempted until it is finished.

- What a provider says is judged for each recipient on its own. A recipient that is closed stays closed; only
  the others go again.
- Without a definite answer a mail is deferred, never failed.
- An attempt whose answer was lost is resolved before anything else happens to its mail.
- A lane that fails for its owner's reasons is stopped and probed; that never costs a mail a try.
- What waits in such a lane goes to another provider of its route, if there is one.
- Expiry is judged only when an attempt has just ended with a deferral. What is still uncertain by then is
  held: it may have arrived, and must neither bounce nor be sent for ever.
- A report to a sender is accepted in the transaction that closes the recipients it reports on.

``dispatcher`` is the loop. A claim passes ``attempt`` (prepare), ``deliver``, ``decision`` and ``record``,
each once; ``end_reports`` adds the reports of how it ended. ``retry`` has every delay. ``lane_state`` and
``probe`` stop lanes and open them again; ``reachability_watch`` reports providers that fail, or defer all
mail (``deferrals``). ``failover`` finds the next provider, and ``reroute`` moves what waits in a stopped
lane. ``dsn`` writes to senders, ``webhook`` to programs. ``synchronous`` delivers while
the client waits for the provider's reply.
"""
