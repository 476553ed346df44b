"""What evaluation measures: answers and their scores, perplexity, questions made from texts."""
