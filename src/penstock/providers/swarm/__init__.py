"""The Swarm provider: functions are services of a Docker Swarm, which keeps what is wanted and runs it on its nodes.

`provider` has the verbs; `cluster` sees, `authority` writes, `fleet` and `tracked` decide; the other rooms do one thing each.
"""
