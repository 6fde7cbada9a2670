"""The run itself: chunks to workers, what fails tried again, results added up."""
