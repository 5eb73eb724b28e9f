"""Says which machine answers: for trying how requests spread over replicas and nodes."""

import os
import platform


def handle(event, context):
    lines = [
        ("Hostname", context.hostname),
        ("System", f"{platform.system()} {platform.release()}"),
        ("Arch", platform.machine()),
        ("CPUs", os.cpu_count()),
        ("Total mem", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB"),
        ("Uptime", f"{_uptime():.0f} s"),
    ]
    if b"verbose" in event.body:
        lines += [("Python", platform.python_version()), ("Load", " ".join(f"{load:.2f}" for load in os.getloadavg()))]
        lines += [("Process", os.getpid()), ("CPUs allowed", len(os.sched_getaffinity(0)))]
    text = "".join(f"{name}: {value}\n" for name, value in lines)
    return {"statusCode": 200, "body": text, "headers": {"Content-Type": "text/plain; charset=utf-8"}}


def _uptime():
    with open("/proc/uptime") as file:
        return float(file.read().split()[0])
