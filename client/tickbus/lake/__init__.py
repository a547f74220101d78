"""The Parquet data set: its manifest, its columns, `scan`, and `verify`."""
