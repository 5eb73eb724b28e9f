"""Penstock itself as what a cluster runs: the documents that install it. Used by `penstock generate platform`."""
