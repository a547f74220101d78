"""Sockets, REST, and what came off them: nothing here decides."""
