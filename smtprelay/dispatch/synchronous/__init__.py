"""Synchronous listeners: the client waits for the provider's result, and nothing is spooled."""
