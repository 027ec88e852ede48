``queue export`` takes all filters of ``queue list``: ``--subject``, ``--since``, ``--larger`` and so on.
