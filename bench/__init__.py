"""The speed table: every row a ratio measured in one run on one machine. `python -m bench`, or `make bench`, fills it."""
