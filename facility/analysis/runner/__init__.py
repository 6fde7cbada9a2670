"""The run itself: chunks to workers, what fails tried again, results added up.

What is told of it afterwards is `facility.analysis.results`; the public call is
`facility.analysis.run`.
"""
