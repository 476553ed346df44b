"""Files to text: which files are meant, and what they say."""
