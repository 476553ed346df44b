"""The judge: reads a question together with a passage, and says whether and where it answers."""
