"""`python -m penstock`: the same command line as the `penstock` script."""

from penstock.cli.main import main

main()
