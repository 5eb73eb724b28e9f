"""Containers of a Docker Engine, as the docker runtime and the Swarm provider need them.

`engine` is the only module that talks to an engine; the others decide what to ask it, or ask it one kind of thing.
"""
