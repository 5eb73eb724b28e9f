"""The control process: REST API, authentication, route feed and metrics; everything that is not an invocation."""
