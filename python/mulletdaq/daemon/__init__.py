"""The daemon: rings, sources, writers and the Flight service, kept alive for months."""
