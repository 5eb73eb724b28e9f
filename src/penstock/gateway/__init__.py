"""The data plane: a worker moves requests to replicas and answers back, and does nothing else.

Start with `invoke`, the story of one request; `worker` puts the parts together.
"""
