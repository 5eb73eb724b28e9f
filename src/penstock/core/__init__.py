"""Pure decisions. Nothing here waits, reads a clock, opens a file or logs; an import contract keeps it so."""
