"""Compiled loops over columns; callable from each other and from the services' own kernels."""
