"""The session's compiled code, in a folder of its own: the cache of kernels depends on every file
beside them (`tickbus.compiled`), so that an edit elsewhere compiles nothing again. Nothing here
imports the rest of the session.
"""
