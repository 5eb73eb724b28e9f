"""The function store: functions that others have written, described in one JSON file; ours is shipped with the package."""
