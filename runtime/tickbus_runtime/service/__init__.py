"""What every service does around its work: start, health, folds with positions, drain."""
