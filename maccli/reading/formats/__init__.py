"""A reader for each kind of file: bytes or text in, a `Draft` out."""
