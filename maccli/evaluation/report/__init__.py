"""Tables, pictures and a page of results."""
