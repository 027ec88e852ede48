"""
Sockets, TLS, DNS, deadlines and memory budgets that several stations use.

Of mail it knows only what DNS says of the domains that send it (``sender_records``).
"""
