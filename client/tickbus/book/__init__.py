"""One ticker's order book."""
