"""The portable watchdog: a directory, or an image, with everything that it needs to run in any Linux image of this machine.

`penstock watchdog bundle` calls `directory` or `image`. In reading order: `trace` finds what the watchdog imports, `collect`
decides what belongs in a bundle, `libraries` and `elf` find the shared libraries, `write` lays it all out, `rehearse` starts
it once, and `replace` puts it in place. `tar` and `archive` write images. The `launcher` is what starts it in an image without a
shell.
"""
