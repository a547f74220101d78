"""Writing to the bus: connection, streams, epochs, publishing in order, checkpoints."""
