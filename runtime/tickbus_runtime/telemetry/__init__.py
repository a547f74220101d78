"""Metrics, spans and logs of a process; and traces put together from several processes."""
