"""Whether `facility.run` reads what coffea's Runner reads, in every column of any ROOT file."""
