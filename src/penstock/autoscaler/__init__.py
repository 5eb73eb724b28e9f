"""Changes how many replicas functions have: because of alerts (`alerts`). The decisions are `core.scaling`'s."""
