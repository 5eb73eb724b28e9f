"""Our own image: gateway, command line and watchdog, made of this installation without a base image, a registry or an engine.

`penstock image build` calls `build`. In reading order: `contents` decides what goes into it, `layout` lays out its root, `build`
composes them, starts the result once and packs it. What a bundle is, and how images are packed, is `penstock.watchdog.bundle`'s.
"""
