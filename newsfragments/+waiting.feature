A relay that is started before the PostgreSQL with its spool waits for it and comes up by itself, instead of ending with 73; with ``workers`` that does not count against ``restarts_per_hour``.
