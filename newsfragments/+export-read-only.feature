``queue export`` copies mail from a spool that cannot be written, as on a disk that is read-only; ``queue list`` and ``spool check`` read it, too.
