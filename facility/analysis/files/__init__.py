"""One file: how it is opened, what it is called, which version of it there is, where it is read.

Which files there are is said by `facility.analysis.inputs`; what is read of them, by
`facility.analysis.reading`.
"""
