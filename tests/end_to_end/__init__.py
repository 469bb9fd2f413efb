"""The installed command, from the outside."""
