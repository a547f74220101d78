"""Reading the log: connection, deliveries, readers, subscriptions; one message as a batch."""
