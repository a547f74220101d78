"""Many stored messages as columns: groups and their tables, checked and in log order."""
