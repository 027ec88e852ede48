"""
Several processes as one relay: ``supervisor`` opens the sockets and starts the workers.

It watches them, and answers the API and the metrics for all of them.
"""
