"""The command `tickbus`, and the commands that the client brings to it."""
