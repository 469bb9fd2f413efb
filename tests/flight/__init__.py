"""The Flight service, by stock clients."""
