"""Who may publish, and how a flush gets from the buffer into the log."""
