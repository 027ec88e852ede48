"""Sockets, TLS, deadlines and memory budgets that several stations use; nothing of mail."""
