"""Arrow Flight: streams and recordings for programs on other computers."""
