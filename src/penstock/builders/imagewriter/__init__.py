"""Images without a container engine: Dockerfiles that run nothing, written by Python alone.

`builder` is the way in. In reading order: `dockerfile` cuts the file into instructions, `words` and `values` read their
arguments, `ignore` knows which files a context leaves out; `interpret` carries the instructions out on an `image` whose files
`tree` knows and `layer` writes. Bases come from `bases`: by `registry`, which speaks by `transport` and `auth`, or from
`archives`; blobs and images are kept in `store`.
"""
