"""The whole system on one machine: server, services and venue as supervised processes."""
