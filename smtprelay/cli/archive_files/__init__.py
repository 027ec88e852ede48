"""The files that mail is exported to and imported from."""
