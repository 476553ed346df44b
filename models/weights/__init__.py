"""Where the weights of base models come from, how they are checked, and where they are kept."""
