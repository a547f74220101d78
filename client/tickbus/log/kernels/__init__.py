"""Reads runs of NATS messages from the bytes of a connection."""
