"""Work in other processes and on other machines.

`children` is one worker process and `child_side` its side of the protocol, `pool` gives tasks to
one or several of them, `endings` says how they end and `limits` what they may use. `cluster` gives
tasks to a Dask cluster, to which `connection` leads. `machine` is what this machine has, `sizes`
how memory is written. `locks` keeps processes from doing one thing at once.
"""
