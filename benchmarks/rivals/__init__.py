"""The same work in the hands of others, each in its own recommended way."""
