"""Penstock: any program that reads stdin and writes stdout becomes an HTTP function."""

__version__ = "0.1.0"
