"""Scripts that run without anybody watching: as a process of this machine, or as a Kubernetes Job.

`submission` is what is asked for; `machine` and `kubernetes` do it; `command` is their face in the
`facility` command. What such a script leaves stands in the user's folder.
"""
