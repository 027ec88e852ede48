"""The HTTP client of the providers: a pool of connections, requests with deadlines, uploads."""
