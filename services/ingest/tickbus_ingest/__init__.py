"""Ingest: a venue's frames and REST bodies into one log.

Rooms, each of which imports only those behind it (import-linter holds this):
`commands`, `serve`, `warm`, `publish`, `lines` and `session` (neither sees the other), `wire` and
`exchanges`, `venue`.
"""
