"""Commands of `tickbus` that run processes; found through the entry points `tickbus.commands`."""
