"""What stands on the pages of a PDF: its words, lines, paragraphs, form fields and notes."""
