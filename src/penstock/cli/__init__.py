"""The command line: one verb per file under `verbs`, one client of the REST API. Nothing else in Penstock imports it."""
