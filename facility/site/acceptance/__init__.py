"""`facility site test`: how reliably, how fully and how fast a Kubernetes cluster runs batch jobs.

    plan (pure) -> manifests (pure) -> trial (asks Kubernetes) -> outcomes, usage (pure) -> page

Jobs are Kubernetes Jobs as those of the grid are: one pod each, of one or several cores. Faults
come from a seed, so that a run can be had again.
"""
