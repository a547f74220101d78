"""Reads, checks and joins messages, all of a group at once."""
