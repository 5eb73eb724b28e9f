"""The watchdog: one program behind HTTP. `app.run` is the way in; `modes` decide how a request meets the program."""
