"""Making a store smaller: dropping modulations, or merging those that are alike."""
