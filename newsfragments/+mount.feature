A spool on a tmpfs, or in a container without a volume, is warned of at the start.
