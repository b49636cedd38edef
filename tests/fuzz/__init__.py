"""Damaged files of every format through `main`: each is an answer or one message, in bounded time and memory, and
nothing in it runs.

`python -m tests.fuzz --minutes 10` prints what came out by format, and keeps what failed. `seeds` are the files,
`mutations` what is done to them, `trying` runs a command and judges it, `campaign` does so in several processes.
"""
