"""Compiled code in a folder of its own: an edit elsewhere in `publish` compiles nothing again."""
