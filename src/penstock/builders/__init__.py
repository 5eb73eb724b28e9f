"""Builds: a handler's folder and a template become an image, or a folder that runs on this machine without one."""
