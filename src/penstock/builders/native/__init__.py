"""Builds that run on this machine without a container: one file per toolchain, one that keeps the results."""
