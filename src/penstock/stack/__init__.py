"""Stack files: several functions in one YAML file, as faas-cli reads them (contract watchdog-cli §3). Prints nothing."""
