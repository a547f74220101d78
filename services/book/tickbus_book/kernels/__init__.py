"""The grid: folds packets into rows at fixed intervals, and cuts the rows into messages."""
