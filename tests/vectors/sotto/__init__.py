"""Sotto's protocol in a few hundred lines of Python: enough to read the vectors, written from docs/protocol.md alone."""
