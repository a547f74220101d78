"""Recomputes book rows from packets, to compare them with what was written."""
