"""A program of its own, for another Python: see `__main__.py`."""
