"""Scripts that run without anybody watching: as a process of this machine, or as a Kubernetes Job.

`request` is what is asked for; `local` and `kubernetes` do it; `command` is their face in the
`facility` command. What such a script leaves stands in the user's folder.
"""
