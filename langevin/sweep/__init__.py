"""A sweep is many runs that differ in a few keys: one file, with one more dimension for each of these.

`plan` makes members of [sweep], `execution` carries them out through an `executor`, each in a `worker`;
`combine` makes one file of theirs, `reading` takes it apart again.
"""
