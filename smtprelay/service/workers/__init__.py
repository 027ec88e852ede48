"""
Several processes as one relay.

The ``supervisor`` opens the sockets, has ``process`` start and watch the workers, and answers the API and the
metrics for all of them by ``api_proxy``. ``worker`` is what a worker runs.
"""
