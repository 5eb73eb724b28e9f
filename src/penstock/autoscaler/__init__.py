"""Changes how many replicas functions have: because of load, alerts, people and idleness (`scaler`). The decisions are `core.scaling`'s."""
