"""Objects of an S3-compatible store as the input and output of functions.

Read `reference.py` first, then `objects.py`; `errors.py` is what may go wrong. Nothing here knows what a gateway or a function is.
"""
