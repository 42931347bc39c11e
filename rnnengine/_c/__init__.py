"""Bindings of the C core: they see arrays and integers only, never graphs or files."""
