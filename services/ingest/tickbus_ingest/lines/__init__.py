"""Connections and requests of a venue: kept open, kept within its limits."""
