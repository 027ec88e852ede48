"""Synchronous listeners: the client waits for the provider's verdict, and nothing is spooled."""
