"""The database of a store: its schema, documents, full-text search and keys."""
