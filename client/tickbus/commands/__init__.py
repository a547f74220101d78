"""The commands that the client brings; each is an entry point of `tickbus.commands`."""
